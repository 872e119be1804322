"""Near-duplicates: which cluster a record joins when it is admitted, and which records are copies and are refused.

`request` needs the standard library only; `tabular` and `text` are the two indices, fed in seniority order;
`reference` is both in plain integers. A record is compared with the leaders of clusters, so that a chain of small
steps never ties two records together that are far apart.
"""
