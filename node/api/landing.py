"""The landing page: live blocks, and links into the API. One file, no request to anywhere else."""

from __future__ import annotations

import base64
import hashlib
from html import escape

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; }
td.id { font-family: ui-monospace, monospace; overflow: hidden; text-overflow: ellipsis; max-width: 16rem; }
nav { margin-top: 1.5rem; }
nav a { margin-right: 1rem; }
#state { opacity: .7; }
"""

_SCRIPT = """
"use strict";
const rows = document.getElementById("blocks");
const state = document.getElementById("state");
function cell(row, text, name) {
  const made = row.insertCell();
  made.textContent = text;
  if (name) made.className = name;
  return made;
}
function show(block) {
  const row = rows.insertRow(0);
  const link = document.createElement("a");
  link.href = "/api/v1/blocks/" + block.height;
  link.textContent = block.height;
  cell(row, "").append(link);
  cell(row, new Date(block.time_ms).toLocaleTimeString());
  cell(row, block.transaction_count);
  cell(row, block.failed_count);
  cell(row, block.epoch + " / " + block.view);
  cell(row, block.id, "id");
  while (rows.rows.length > 20) rows.deleteRow(-1);
}
function follow(height) {
  const events = new EventSource("/api/v1/events?from_height=" + height);
  events.addEventListener("open", () => { state.textContent = "live"; });
  events.addEventListener("error", () => { state.textContent = "connecting"; });
  events.addEventListener("block", (event) => show(JSON.parse(event.data)));
}
fetch("/api/v1/blocks?limit=20").then((answer) => answer.json()).then((page) => {
  const blocks = page.items.reverse();
  blocks.forEach(show);
  follow(blocks[blocks.length - 1].height + 1);
}).catch(() => { state.textContent = "this node does not answer: reload"; });
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>Chain <b>{chain}</b>, blocks as they become final: <span id="state">connecting</span></p>
<table>
<thead><tr><th>height</th><th>time</th><th>transactions</th><th>failed</th><th>epoch / view</th><th>id</th></tr></thead>
<tbody id="blocks"></tbody>
</table>
<nav>{links}</nav>
<p>JSON-RPC 2.0: POST to this address, or a WebSocket at /websocket. Methods: {methods}.</p>
<script>{script}</script>
</body>
</html>
"""

_LINKS = (
    "/api/v1/stats",
    "/api/v1/blocks",
    "/api/v1/transactions",
    "/api/v1/validators",
    "/api/v1/datanets",
    "/api/v1/models",
    "/api/v1/attributions",
    "/api/v1/payments",
    "/api/v1/openapi.json",
    "/metrics",
    "/readyz",
)


def _source_hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_source_hash(_SCRIPT)}; style-src {_source_hash(_STYLE)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Only this page's own script and style, only this node."""


def make_page(node_name: str, chain_name: str, methods: tuple[str, ...]) -> str:
    """The page."""
    links = " ".join(f'<a href="{link}">{link.removeprefix("/api/v1/").lstrip("/")}</a>' for link in _LINKS)
    return _PAGE.format(
        title=escape(f"OpenLedger node {node_name}"),
        chain=escape(chain_name),
        style=_STYLE,
        script=_SCRIPT,
        links=links,
        methods=escape(", ".join(methods)),
    )
