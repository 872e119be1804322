"""The mutants: each takes one rule away, and the simulator must notice."""

from __future__ import annotations

from tests.mutants.mutant import Edit, Mutant

SIMPLEX, VIEWS, ENGINE, WAL = "consensus.simplex", "consensus.views", "node.engine", "node.storage.wal"
BLOCK, SYNC, PROPOSAL, SIGNER = "node.execution.block", "node.sync", "node.proposal", "node.signer"

UNGUARDED = Edit(SIGNER, "            assert find_conflict(earlier, vote) is None,", "            assert True or")
"""The signer's second lock is off."""

MUTANTS = (
    # The core.
    Mutant(
        "finalize_after_nullify",
        "5: finalize only if this validator has not nullified the view",
        (Edit(SIMPLEX, "VoteKind.NULLIFY not in state.own and VoteKind.FINALIZE not in", "VoteKind.FINALIZE not in"),),
    ),
    Mutant(
        "finalize_after_nullify_unguarded",
        "5, with the signer's guard off too",
        (
            Edit(SIMPLEX, "VoteKind.NULLIFY not in state.own and VoteKind.FINALIZE not in", "VoteKind.FINALIZE not in"),
            UNGUARDED,
        ),
    ),
    Mutant(
        "nullify_after_finalize",
        "4: nullify is forbidden once finalize was sent",
        (
            Edit(
                SIMPLEX,
                "if VoteKind.NULLIFY in state.own or VoteKind.FINALIZE in state.own or not",
                "if VoteKind.NULLIFY in state.own or not",
            ),
            Edit(SIMPLEX, "if state.view >= self._view and is_silent", "if is_silent"),
            Edit(
                SIMPLEX,
                "        if view >= self._view:\n            if view >",
                "        if view > self._view:\n            if view >",
            ),
            UNGUARDED,
        ),
    ),
    Mutant(
        "notarize_twice",
        "3: notarize the first proposal, once",
        (
            Edit(SIMPLEX, "        is_first = state is None or state.proposal is None\n", "        is_first = True\n"),
            Edit(
                SIMPLEX,
                "            self._views.at(proposal.view).proposal = proposal\n",
                "            changed = self._views.at(proposal.view)\n            changed.proposal, changed.verdict, changed.is_judging = proposal, None, False\n",
            ),
            Edit(
                SIMPLEX,
                "if state.verdict is Verdict.VALID and VoteKind.NOTARIZE not in state.own and",
                "if state.verdict is Verdict.VALID and state.own.get(VoteKind.NOTARIZE) != proposal.block_id and",
            ),
        ),
    ),
    Mutant(
        "no_nullification_proofs",
        "3: a nullification of every view between parent and proposal",
        (Edit(VIEWS, "for view in range(proposal.parent_view + 1, proposal.view):", "for view in range(0):"),),
    ),
    Mutant(
        "no_parent_certificate",
        "3: the parent's certificate is known, and is the parent's",
        (
            Edit(VIEWS, "        if certified is None:\n            return Lacking(view=proposal.parent_view)\n", ""),
            Edit(VIEWS, "if certified != proposal.parent_id:", "if False:"),
        ),
        profile="heir",
    ),
    Mutant(
        "parent_below_final",
        "3: no proposal bypasses a final view",
        (
            Edit(VIEWS, "if not self.final.view <= proposal.parent_view < proposal.view:", "if False:"),
            Edit(VIEWS, "        if certified is None:\n            return Lacking(view=proposal.parent_view)\n", ""),
            Edit(VIEWS, "if certified != proposal.parent_id:", "if False:"),
            Edit(VIEWS, "for view in range(proposal.parent_view + 1, proposal.view):", "for view in range(0):"),
        ),
    ),
    Mutant(
        "build_over_gaps",
        "2: the leader holds a nullification of every view it skips",
        (
            Edit(
                VIEWS,
                "            if state is None or state.nullification is None:\n                return Lacking(view=candidate)\n            proofs.append(state.nullification)\n",
                "            if state is not None and state.nullification is not None:\n                proofs.append(state.nullification)\n",
            ),
        ),
        equivalent="Voters ask for the same proofs (no_nullification_proofs is caught): a leader that lacks one loses its "
        "view by the timer, as a slow leader does, and the next one that holds them goes on.",
    ),
    Mutant(
        "quorum_off_by_one",
        "a quorum is more than two thirds",
        (Edit("consensus.quorum", "return 3 * power > 2 * total_power", "return 3 * (power + 1) > 2 * total_power"),),
    ),
    Mutant(
        "quorum_of_two_thirds",
        "a quorum is more than two thirds, not two thirds",
        (Edit("consensus.quorum", "return 3 * power > 2 * total_power", "return 3 * power >= 2 * total_power"),),
        profile="thirds",
        equivalent="Two sets of two thirds share at least a third of the power, and the Byzantine hold less than one: "
        "an honest one is in both. The strict form is what the proof in the paper asks for.",
    ),
    Mutant(
        "votes_counted_per_view",
        "votes count for one block of the view",
        (
            Edit(
                "consensus.votes",
                "        signatures = self._by_statement.get(statement, {})\n",
                "        signatures = {who: each for what, votes in self._by_statement.items() if what.kind is statement.kind for who, each in votes.items()}\n",
            ),
        ),
    ),
    Mutant(
        "certificate_without_quorum",
        "a certificate holds a quorum of distinct members",
        (
            Edit(
                "consensus.certificate",
                "    if signers != sorted(set(signers)) or any(signer not in quorum for signer in signers):\n        return False\n    return quorum.is_quorum(signers)",
                "    return bool(signers) and all(signer in quorum for signer in signers)",
            ),
        ),
    ),
    Mutant(
        "certificate_of_another_epoch",
        "a certificate counts in its own epoch only",
        (
            Edit(
                SIMPLEX,
                "is_in_reach = statement.epoch == self._epoch and statement.view >= self.final.view",
                "is_in_reach = statement.view >= self.final.view",
            ),
            Edit(
                ENGINE,
                "if certificate.statement.epoch != self.core.epoch or not is_well_formed",
                "if not is_well_formed",
            ),
            Edit(
                ENGINE,
                "            if certificate.statement.epoch == self.core.epoch + 1:\n",
                "            if False:\n",
            ),
        ),
    ),
    Mutant(
        "no_retransmission",
        "8: repeat while stuck",
        (Edit(SIMPLEX, "if self._timers.is_retransmit_due(self._now_ms):", "if False:"),),
    ),
    Mutant(
        "own_votes_not_repeated",
        "8: own votes and finalizes are among what is repeated",
        (
            Edit(
                SIMPLEX,
                "        if votes:\n            self._effects.append(out.SendVotes",
                "        if False:\n            self._effects.append(out.SendVotes",
            ),
        ),
    ),
    Mutant(
        "proofs_given_once",
        "8 and 9: who lacks a proof gets it: with the proposal, by repetition, by asking",
        (
            Edit(SIMPLEX, "        if pages:\n", "        if False:\n"),
            Edit(SIMPLEX, "if lacking is not None and self._timers.is_fetch_due(self._now_ms):", "if False:"),
            Edit(SIMPLEX, "certificates=base.certificates[:CERTIFICATES_PER_MESSAGE],", "certificates=(),"),
        ),
    ),
    Mutant(
        "no_view_timer",
        "4b: a view without a certificate is given up",
        (
            Edit(
                SIMPLEX,
                "        elif self._timers.is_certificate_late(self._now_ms):\n            self._nullify(state, NullifyReason.NO_CERTIFICATE)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "no_proposal_timer",
        "4a and 4b: a silent leader is given up",
        (
            Edit(
                SIMPLEX,
                "elif VoteKind.NOTARIZE not in state.own and self._timers.is_proposal_late(self._now_ms):",
                "elif False:",
            ),
            Edit(
                SIMPLEX,
                "        elif self._timers.is_certificate_late(self._now_ms):\n            self._nullify(state, NullifyReason.NO_CERTIFICATE)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "timer_unbounded",
        "11: Δ grows by half every few windows, at most to 11 Δ",
        (
            Edit(
                "consensus.timers",
                "growths = min(self._failed_windows // WINDOWS_PER_GROWTH, MOST_GROWTHS)",
                "growths = 2 * self._failed_windows",
            ),
        ),
        profile="storm",
    ),
    Mutant(
        "enter_without_certificate",
        "1: a view is entered by a certificate of the one before",
        (
            Edit(
                SIMPLEX,
                "        self._cast(state, VoteKind.NULLIFY, NO_BLOCK)\n",
                "        self._cast(state, VoteKind.NULLIFY, NO_BLOCK)\n        self._enter(self._view + 1) if reason is NullifyReason.NO_CERTIFICATE else None\n",
            ),
        ),
    ),
    Mutant(
        "epoch_end_extended",
        "12: the epoch's last block has no child in its epoch",
        (Edit(ENGINE, "return parent.is_epoch_end and parent.header.epoch == self.core.epoch", "return False"),),
    ),
    Mutant(
        "silent_after_recovery",
        "10: silence ends where votes cannot be missing",
        (
            Edit(
                SIMPLEX,
                "return 1 if epoch + 1 == self._epoch and self._parent_view <= view else 0",
                "return 1 if epoch + 1 == self._epoch else 0",
            ),
        ),
    ),
    Mutant(
        "signs_after_loss",
        "10: without its log a validator signs nothing up to where the others stand",
        (
            Edit(
                SIMPLEX,
                "return is_member and self._statuses is None and state.view > self._sign_floor",
                "return is_member",
            ),
        ),
    ),
    Mutant(
        "one_status_is_enough",
        "10: a quorum of others tells where they stand",
        (Edit(SIMPLEX, "if self._quorum.is_quorum(self._statuses):", "if self._statuses:"),),
    ),
    Mutant(
        "certificate_hides_equivocation",
        "evidence: votes inside certificates count",
        (Edit(SIMPLEX, "        self._count(state, certificate)\n", ""),),
        profile="caught",
    ),
    # The log and the signer.
    Mutant(
        "votes_not_logged",
        "10: own votes are in the log",
        (Edit(ENGINE, "        self._entries.append(VoteCast(vote=vote))\n", ""),),
    ),
    Mutant(
        "logged_after_sent",
        "10: persist before send",
        (
            Edit(
                ENGINE,
                '        """Makes durable what must be, then lets the turn\'s messages go."""\n',
                '        """Mutated."""\n        outbox, self._outbox = self._outbox, []\n        for peer, message in outbox:\n            if peer is None:\n                self._host.broadcast(message)\n            else:\n                self._host.send(peer, message)\n',
            ),
        ),
    ),
    Mutant(
        "body_not_logged",
        "10: the body is in the vote's sync",
        (Edit(ENGINE, "            self._entries.append(BodyHeld(block=block))\n", ""),),
    ),
    Mutant(
        "stale_log_unnoticed",
        "10: a log behind the state has forgotten votes",
        (Edit(ENGINE, "is_log_behind = noted is not None and wal.position < noted", "is_log_behind = False"),),
    ),
    Mutant(
        "lost_log_unnoticed",
        "10: an empty log is a lost one",
        (
            Edit(
                ENGINE,
                "is_log_lost = is_log_behind or not recalled.is_known",
                "is_log_lost = is_log_behind and recalled.is_known",
            ),
        ),
    ),
    Mutant(
        "restarted_log_forgets_votes",
        "10: a new log begins with the votes still needed",
        (Edit(ENGINE, "        entries.extend(VoteCast(vote=vote) for vote in votes)\n", ""),),
        profile="logs",
    ),
    Mutant(
        "votes_not_replayed",
        "10: the log is replayed first",
        (Edit("node.recall", "                    found.votes.append(vote)\n", "                    pass\n"),),
    ),
    Mutant(
        "signer_guard_off",
        "the signer refuses to contradict itself, whoever asks",
        (UNGUARDED,),
        equivalent="The guard acts only when the core asks for a contradiction, which it never does: with the core's own "
        "rule gone too (finalize_after_nullify_unguarded) the network's invariants catch it, without that the guard does.",
    ),
    # Signatures.
    Mutant(
        "votes_unverified",
        "a vote's signature is its validator's",
        (Edit(ENGINE, "if key is None or not is_valid_signature(key, digest, vote.signature):", "if key is None:"),),
    ),
    Mutant(
        "certificates_unverified",
        "each signature of a certificate is verified",
        (
            Edit(
                ENGINE,
                "        return is_signed(self._genesis_hash, certificate, self._keys)\n",
                "        return True\n",
            ),
        ),
    ),
    Mutant(
        "anybody_proposes",
        "3: the proposal is its leader's",
        (
            Edit(
                SIMPLEX,
                "is_leaders = statement.epoch == self._epoch and vote.validator == self.leader_of(statement.view)",
                "is_leaders = statement.epoch == self._epoch",
            ),
        ),
    ),
    # Execution and sync.
    Mutant(
        "roots_not_compared",
        "3: a block executes to the roots it claims",
        (Edit(BLOCK, "        if claimed != computed:\n            detail", "        if False:\n            detail"),),
    ),
    Mutant(
        "set_not_compared",
        "a header names the set and the parameters that govern it",
        (
            Edit(
                BLOCK,
                "        if claimed != computed:\n            raise BlockRejected(reason)",
                "        if claimed != computed and reason is not BlockReason.WRONG_SET:\n            raise BlockRejected(reason)",
            ),
        ),
    ),
    Mutant(
        "time_not_compared",
        "a block is later than its parent",
        (Edit(BLOCK, "if header.time_ms <= parent.time_ms:", "if False:"),),
    ),
    Mutant(
        "nonce_not_compared",
        "a transaction is in the chain once",
        (Edit("node.execution.transaction", "if transaction.nonce < account.nonce:", "if False:"),),
        profile="lies",
    ),
    Mutant(
        "proposed_body_not_compared",
        "a body is its header's",
        (
            Edit(
                PROPOSAL, "        if block.transactions_root() != header.transactions_root:\n", "        if False:\n"
            ),
            Edit(BLOCK, "    if header.transactions_root != block.transactions_root():\n", "    if False:\n"),
        ),
        equivalent="Only the leader's own signature brings a proposal's body, and a body that is not its header's executes "
        "to other receipts or holds a bad transaction: the block is refused all the same, for another reason.",
    ),
    Mutant(
        "fetched_body_not_compared",
        "9: a body that is not its header's is the sender's fault, never the block's",
        (
            Edit(
                "node.replica",
                "        if message.block.transactions_root() != message.block.header.transactions_root:\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutant(
        "synced_body_not_compared",
        "16: a synced body is its header's",
        (Edit(SYNC, "        if block.transactions_root() != header.transactions_root:\n", "        if False:\n"),),
    ),
    Mutant(
        "synced_without_certificate",
        "16: what is synced is proven final",
        (
            Edit(SYNC, "    if not verify(certificate):\n", "    if False:\n"),
            Edit(
                ENGINE,
                "        self._take_certificate(certificate)\n        self._deliver(certificate)\n",
                "        self._deliver(certificate)\n",
            ),
        ),
    ),
    Mutant(
        "commit_in_two_batches",
        "a final block is one atomic batch",
        (
            Edit(
                "node.state.store",
                "        self._store.write(changes)\n",
                "        self._store.write({key: value for key, value in changes.items() if key != TIP_KEY})\n        self._store.write({TIP_KEY: changes[TIP_KEY]})\n",
            ),
        ),
    ),
    Mutant(
        "executed_into_durable_state",
        "blocks are executed in overlays until they are final",
        (
            Edit(
                PROPOSAL,
                "        self._executed[block_id] = executed\n        return executed\n",
                "        self._executed[block_id] = executed\n        if executed.layer.base is self._state:\n            self._commit([executed], None, None)\n        return executed\n",
            ),
        ),
    ),
)
