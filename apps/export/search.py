"""The beam search of `models.decode.generation` as an ONNX Loop whose ended rows leave the batch.

A row has `width` hypotheses: `sequences` `<int64>(alive, width, length)` and `sums` `(alive,
width)` of their log-probabilities, impossible once they have ended. `ended` `(batch, width,
length)` and `scores` `(batch, width)` hold what has, of all rows.
"""

import functools
from collections.abc import Sequence

import numpy as np

from apps.export.decoder import IMPOSSIBLE, DecoderNodes, Member, spread
from apps.export.graph import Graph
from apps.export.greatest import greatest

# A probability whose logarithm is a number.
_LEAST = np.float32(1e-37)


def add_search(
    graph: Graph,
    members: Sequence[Member],
    *,
    start_id: int,
    end_id: int,
    forbidden_ids: tuple[int, ...] = (0, 1),
    views: str | None = None,
    mirrored: np.ndarray | None = None,
) -> None:
    """Adds the search to a graph that ends in the inputs of the decoders.

    Inputs: `length_limit` `<int32>(batch,)`, the most tokens of each row with the end, and the
    scalars `beam_size`, `length_penalty` and `n_best` as `build_generator` takes them, and
    `attention_wanted`. Outputs as its own: `sequences` `<int32>(batch, n_best, length)`, `scores`
    `(batch, n_best)`, `attention` `(batch, n_best, length, places)`, empty where it is not wanted.

    Args:
        graph: The graph.
        members: What writes together.
        start_id: As `build_generator` takes it.
        end_id: As `build_generator` takes it.
        forbidden_ids: As `build_generator` takes it.
        views: `<int64>(1,)`, views of each row whose probabilities are averaged; one if None.
        mirrored: `<int64>(places,)`, where the second view has what the first has at each place.
    """
    search = _Search(
        graph, members, start_id=start_id, end_id=end_id, forbidden_ids=forbidden_ids, views=views
    )
    search.run()
    search.look_back(mirrored)


class _Search:
    """The tensors that the loop and what follows it share."""

    def __init__(self, graph, members, *, start_id, end_id, forbidden_ids, views):
        self.graph, self.members, self.views = graph, members, views
        self.is_alone = len(members) == 1 and views is None
        self.start_id, self.end_id = start_id, end_id
        self.decoders = [DecoderNodes(graph, member) for member in members]
        self.vocab_size = members[0].decoder.output["logits"].shape[-1]
        self.forbidden_ids = (start_id, *forbidden_ids)
        limit = graph.cast(graph.input("length_limit", "int32", ["batch"]), "int64")
        self.limit = graph.Unsqueeze(graph.Max(limit, 1), [1])
        self.width = graph.Reshape(graph.cast(graph.input("beam_size", "int32", []), "int64"), [1])
        self.length_penalty = graph.input("length_penalty", "float32", [])
        self.length = graph.ReduceMax(self.limit, keepdims=0)
        self.batch = graph.size(limit, 0)
        self.double = graph.Mul(self.width, 2)
        # Twice the width, and what is forbidden among them.
        some = graph.Add(self.double, len(self.forbidden_ids))
        self.some = graph.Min(some, [self.vocab_size])
        self.places = graph.Range(0, self.length, 1)
        self.leading = graph.Less(graph.range(self.double), self.width)

    def run(self) -> None:
        """Adds the loop, and `sequences` and `scores`."""
        graph = self.graph
        # All would begin alike, so there is one, if the first step finds enough to go on with.
        enough = graph.LessOrEqual(self.double, self.vocab_size)
        width = graph.Where(enough, [1], self.width)
        # Of copies only one may be carried on, or the beam fills with them.
        first = graph.Equal(graph.range(width), 0)
        shape = graph.Concat(self.batch, width, axis=0)
        sums = graph.Expand(graph.Where(first, np.float32(0), IMPOSSIBLE), shape)
        tokens = graph.Expand(self.start_id, shape)
        length = graph.Reshape(self.length, [1])
        sequences = graph.Expand(0, graph.Concat(shape, length, axis=0))
        full = graph.Concat(self.batch, self.width, axis=0)
        ended = graph.Expand(0, graph.Concat(full, length, axis=0))
        scores = graph.Expand(IMPOSSIBLE, full)
        states = [spread(graph, state, width) for one in self.members for state in one.states]
        everyone = graph.range(self.batch)
        start = [everyone, tokens, sums, sequences, ended, scores, *states]
        results = graph.Loop(
            self.length, np.bool_(True), *start, body=self._body(), outputs=len(start)
        )
        self.n_best = graph.Reshape(graph.cast(graph.input("n_best", "int32", []), "int64"), [1])
        self.sequences, scores = (graph.Slice(part, [0], self.n_best, [1]) for part in results[4:6])
        sequences = graph.cast(self.sequences, "int32")
        graph.output("sequences", sequences, "int32", ["batch", "n_best", "length"])
        graph.output("scores", scores, "float32", ["batch", "n_best"])

    def _body(self) -> Graph:
        """Returns one step for the rows that are alive; `_beam_step` of the generator explains."""
        body = self.graph.body()
        step = body.input("step", "int64", [])
        body.input("goes_on", "bool", [])
        alive = body.input("alive", "int64", ["alive"])
        tokens = body.input("tokens", "int64", ["alive", "before"])
        sums = body.input("sums", "float32", ["alive", "before"])
        sequences = body.input("sequences_before", "int64", ["alive", "before", "length"])
        all_ended = body.input("ended", "int64", ["batch", "width", "length"])
        all_scores = body.input("scores_before", "float32", ["batch", "width"])
        states = [
            [
                body.input(f"{tensor.name}_of_{number}", "float32", ["rows", tensor.shape[-1]])
                for tensor in member.decoder.input["states"]
            ]
            for number, member in enumerate(self.members, start=1)
        ]
        ended, scores, limit = (
            body.Gather(part, alive) for part in (all_ended, all_scores, self.limit)
        )
        last = body.Unsqueeze(body.Equal(body.Add(step, 1), limit), [2])
        candidates, logs, states = self._candidates(body, tokens, states, alive, last)

        # At most half of the candidates end, one of each hypothesis, so enough go on.
        flat = body.Concat(body.size(alive, 0), [-1], axis=0)
        totals = body.Reshape(body.Add(body.Unsqueeze(sums, [2]), logs), flat)
        best, place = body.TopK(totals, self.double, axis=1, outputs=2)
        parents = body.Div(place, self.some)
        tokens = body.GatherElements(body.Reshape(candidates, flat), place, axis=1)
        ends = body.Equal(tokens, self.end_id)

        # Among the ended, old and new.
        power = body.Pow(body.cast(body.Add(step, 1), "float32"), self.length_penalty)
        new = body.And(body.And(ends, self.leading), _possible(body, best))
        new_scores = body.Where(new, body.Div(best, power), IMPOSSIBLE)
        new_ended = self._written(body, _picked(body, sequences, parents), tokens, step)
        new_ended = body.Where(body.Unsqueeze(new, [2]), new_ended, 0)
        scores, order = body.TopK(
            body.Concat(scores, new_scores, axis=1), self.width, axis=1, outputs=2
        )
        ended = _picked(body, body.Concat(ended, new_ended, axis=1), order)

        # Among those that go on, unless enough have ended.
        full = _possible(body, body.ReduceMin(scores, [1], keepdims=1))
        sums_before = sums
        sums, order = body.TopK(body.Where(ends, IMPOSSIBLE, best), self.width, axis=1, outputs=2)
        sums = body.Where(full, IMPOSSIBLE, sums)
        parents = body.GatherElements(parents, order, axis=1)
        tokens = body.GatherElements(tokens, order, axis=1)
        sequences = self._written(body, _picked(body, sequences, parents), tokens, step)

        kept = body.NonZero(_possible(body, body.ReduceMax(sums, [1], keepdims=0)))
        kept = body.Squeeze(kept, [0])
        more = body.Greater(body.Squeeze(body.size(kept, 0), [0]), 0)
        where = body.Unsqueeze(alive, [1])
        rows = self._rows(body, parents, kept, body.size(sums_before, 1))
        results = [(more, "bool", [])]
        results += [(body.Gather(alive, kept), "int64", ["alive_after"])]
        results += [(body.Gather(tokens, kept), "int64", ["alive_after", "width"])]
        results += [(body.Gather(sums, kept), "float32", ["alive_after", "width"])]
        results += [(body.Gather(sequences, kept), "int64", ["alive_after", "width", "length"])]
        results += [
            (body.ScatterND(all_ended, where, ended), "int64", ["batch", "width", "length"])
        ]
        results += [(body.ScatterND(all_scores, where, scores), "float32", ["batch", "width"])]
        results += [
            (body.Gather(state, rows), "float32", ["rows_after", tensor.shape[-1]])
            for member, after in zip(self.members, states, strict=True)
            for state, tensor in zip(after, member.decoder.input["states"], strict=True)
        ]
        for number, (tensor, dtype, shape) in enumerate(results):
            body.output(f"after_{number}", tensor, dtype, shape)
        return body

    def _candidates(
        self, body: Graph, tokens: str, states: list[list[str]], alive: str, last: str
    ) -> tuple[str, str, list[list[str]]]:
        """Returns the most probable next tokens of each hypothesis, and the decoders' states.

        Returns:
            candidates: `<int64>(alive, width, some)`.
            logs: Their log-probabilities, the mean of members and views, impossible for what may
                not come next.
            states: Of each member.
        """
        likelihoods, after = self._likelihoods(body, tokens, states, alive)
        best, candidates = greatest(body, likelihoods, self.some, size=self.vocab_size)
        likeliest = body.part(candidates, 0, 1)
        # Where nothing but the end may come, it stands in the place of the first candidate.
        end = body.part(likelihoods, self.end_id, self.end_id + 1)
        first = body.Equal(body.range(self.some), 0)
        ending = body.And(last, first)
        candidates = body.Where(last, body.Where(first, self.end_id, 0), candidates)
        logs = body.Where(ending, end, best)
        if self.is_alone:
            # The logarithm of the sum over the vocabulary, from the share of the greatest.
            top = body.GatherElements(body.Softmax(likelihoods, axis=-1), likeliest, axis=-1)
            logs = body.Sub(logs, body.Sub(body.part(best, 0, 1), body.Log(top)))
        else:
            logs = body.Log(body.Max(logs, _LEAST))
        forbidden = [body.Equal(candidates, number) for number in self.forbidden_ids]
        return candidates, body.Where(functools.reduce(body.Or, forbidden), IMPOSSIBLE, logs), after

    def _likelihoods(
        self, body: Graph, tokens: str, states: list[list[str]], alive: str
    ) -> tuple[str, list[list[str]]]:
        """Returns those of all tokens, `(alive, width, vocab_size)`, and the decoders' states.

        They are logits of one decoder and one view, and probabilities of several.
        """
        width = body.size(tokens, 1)
        tokens, groups = body.Unsqueeze(tokens, [1]), alive
        if self.views is not None:
            shape = body.Concat(body.size(alive, 0), self.views, width, axis=0)
            tokens = body.Expand(tokens, shape)
            first = body.Unsqueeze(body.Mul(alive, self.views), [1])
            groups = body.Reshape(body.Add(first, body.range(self.views)), [-1])
        tokens = body.Reshape(tokens, [-1])
        logits, after = [], []
        for decoder, before in zip(self.decoders, states, strict=True):
            one, changed = decoder.step(body, tokens, before, groups)
            logits.append(one)
            after.append(changed)
        likelihoods = logits[0]
        if not self.is_alone:
            shares = [
                body.Mul(body.Softmax(one, axis=-1), np.float32(member.share))
                for one, member in zip(logits, self.members, strict=True)
            ]
            likelihoods = body.Sum(*shares)
        if self.views is not None:
            by_view = body.Concat(body.size(alive, 0), self.views, [-1], axis=0)
            likelihoods = body.ReduceMean(body.Reshape(likelihoods, by_view), [1], keepdims=0)
        shape = body.Concat(body.size(alive, 0), width, [self.vocab_size], axis=0)
        return body.Reshape(likelihoods, shape), after

    def _rows(self, body: Graph, parents: str, kept: str, width: str) -> str:
        """Returns `<int64>(rows,)`: whose states the hypotheses of the rows that are kept go on.

        There were `width` of each row before.
        """
        views = [1] if self.views is None else self.views
        count = body.Mul(body.size(parents, 0), views)
        first = body.Mul(body.range(count), width)
        first = body.Reshape(first, body.Concat(body.size(parents, 0), views, [1], axis=0))
        rows = body.Add(first, body.Unsqueeze(parents, [1]))
        return body.Reshape(body.Gather(rows, kept), [-1])

    def _written(self, body: Graph, sequences: str, tokens: str, step: str) -> str:
        """Returns the sequences with one more token each."""
        return body.Where(body.Equal(self.places, step), body.Unsqueeze(tokens, [2]), sequences)

    def look_back(self, mirrored: np.ndarray | None) -> None:
        """Adds `attention`: the decoders read what was written, all steps at once."""
        graph = self.graph
        wanted = graph.input("attention_wanted", "bool", [])
        shape = ["batch", "n_best", "length", "places"]
        some, none = graph.body(), graph.body()
        some.output("attention_computed", self._attention(some, mirrored), "float32", shape)
        nothing = none.Expand(np.zeros((1, 1, 1, 1), np.float32), [0, 1, 1, 1])
        none.output("no_attention", nothing, "float32", shape)
        attention = graph.If(wanted, then_branch=some, else_branch=none)
        graph.output("attention", attention, "float32", shape)

    def _attention(self, graph: Graph, mirrored: np.ndarray | None) -> str:
        views = [1] if self.views is None else self.views
        # (batch, views, hypotheses, time) of tokens that were read; only the last is not.
        begun = graph.Pad(self.sequences, [0, 0, 1, 0, 0, -1], self.start_id)
        size = graph.Shape(self.sequences)
        shape = graph.Concat(self.batch, views, graph.part(size, 1, 3, 0), axis=0)
        target_in = graph.Expand(graph.Unsqueeze(begun, [1]), shape)
        target_in = graph.Reshape(target_in, graph.Concat([-1], graph.part(size, 2, 3, 0), axis=0))
        looks = []
        for decoder in self.decoders:
            weights = decoder.attention(graph, target_in, self.n_best)
            weights = graph.Reshape(weights, graph.Concat(shape, [-1], axis=0))
            looks.append(graph.Mul(weights, np.float32(decoder.member.share)))
        mean = graph.Sum(*looks)
        if mirrored is not None:
            second = graph.Reshape(graph.Equal(graph.range(views), 1), [1, -1, 1, 1, 1])
            mean = graph.Where(second, graph.Gather(mean, mirrored, axis=4), mean)
        mean = graph.ReduceMean(mean, [1], keepdims=0)
        real = graph.Unsqueeze(graph.Not(graph.Equal(self.sequences, 0)), [3])
        return graph.Where(real, mean, np.float32(0))


def _possible(graph: Graph, sums: str) -> str:
    return graph.Greater(sums, IMPOSSIBLE / 2)


def _picked(graph: Graph, sequences: str, hypotheses: str) -> str:
    """Returns those `(rows, chosen, length)` that `<int64>(rows, chosen)` names."""
    shape = graph.Concat([1, 1], graph.size(sequences, 2), axis=0)
    index = graph.Expand(graph.Unsqueeze(hypotheses, [2]), shape)
    return graph.GatherElements(sequences, index, axis=1)
