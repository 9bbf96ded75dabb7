"""Reader of submits, which recognises bodies that differ only in names of objects and UserData.

A client sends thousands of them. The first two are parsed and checked in full, and become a form.
Of the others only these texts are read and checked; they are put into what was written for the
first ones. That takes a quarter of the time.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from orchestrator.server.http import xml
from orchestrator.server.http.xml import Written
from orchestrator.server.jobs.ids import vendor_time
from orchestrator.server.jobs.row import TARGET_NODES, JobRequest, JobRow, NewJob
from orchestrator.server.jobs.submit_request import (
    ECHOED,
    STEM_NODES,
    Draft,
    Parser,
    Template,
    check_objects,
    checked_user_data,
)
from orchestrator.server.storage import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.server.http.xml import Node
    from orchestrator.server.jobs.row import JobPlace

MAX_FORMS = 8
"""Forms that are kept; each of them is tried on a body."""
MAX_PLACES = 64
"""Places for which a form keeps the pattern of its element."""
MAX_BODY = 4096
"""Bytes of a body that may have a form."""
_INPUT, _USER_DATA = "Input/Object", "UserData"
_TEXT = re.compile("<(?:Object|AuObject|BassObject|DrumObject|UserData)>([^<]+)</")
_HIDING = re.compile("<!|<[?]|&")
"""Markup that can hide a text of the tree, or show a text that is not in the tree."""
_GAP = "\ue000"
"""Stands for a text in a pattern. No text of a form has it, because it cannot be printed."""


def _is_literal(text: str) -> bool:
    """Return True for a text that XML and JSON write as it is."""
    return text.isprintable() and not ("&" in text or ">" in text or '"' in text or "\\" in text)


@dataclass(slots=True)
class FormDraft:
    """One requested job whose body has a form.

    Attributes:
        form: The form.
        texts: Key of the input, names of the stems, and UserData if there is any.
    """

    form: Form
    texts: tuple[str, ...]

    @property
    def key(self) -> str:
        """Key of the input."""
        return self.texts[0]

    @property
    def output_bucket(self) -> str:
        """Bucket that the stems are written to."""
        return self.form.output_bucket

    def job(self, job_id: str, place: JobPlace, created_at: float) -> NewJob:
        """Return the job that is to be accepted."""
        form, texts = self.form, self.texts
        stored = form.stored.filled(form.stored_texts(texts)).encode()
        element = form.element(place).filled((job_id, vendor_time(created_at), *texts))
        return NewJob(job_id, place, (form.level, texts[0], created_at, stored), Written(element))


class Pattern:
    """A text with gaps; it is filled in a quarter of the time that ``%`` takes."""

    def __init__(self, written: str) -> None:
        self._parts = [""] * (2 * written.count(_GAP) + 1)
        self._parts[::2] = written.split(_GAP)

    def filled(self, texts: tuple[str, ...]) -> str:
        """Return the text, with one of the ``texts`` in each gap."""
        parts = self._parts.copy()
        parts[1::2] = texts
        return "".join(parts)


class Form:
    """The parts that all submits of a form share.

    Attributes:
        queue_id: Queue, or empty.
        level: JobLevel.
        output_bucket: Bucket that the stems are written to.
        stored: Pattern of the stored form of a request.
        stored_texts: Function that puts the texts of a draft into the order of ``stored``.
    """

    def __init__(
        self, rest: Sequence[str], nodes: Sequence[str], first: Draft, queue_id: str
    ) -> None:
        """Make the form of a body.

        Args:
            rest: What lies between the texts that may differ.
            nodes: Nodes of these texts.
            first: Draft of the first submit.
            queue_id: Its queue, or empty.
        """
        self._starts = [(part, len(part)) for part in rest[:-1]]
        self._end = rest[-1]
        self.queue_id, self.level, self.output_bucket = queue_id, first.level, first.output_bucket
        self._first = first.request
        self._stems = [(stem, node) for stem, node in ECHOED if node in nodes]
        self._has_own = _USER_DATA in nodes
        order = [_INPUT, *(node for _, node in self._stems), *([_USER_DATA] * self._has_own)]
        self._ordered: Callable[[Sequence[str]], tuple[str, ...]]
        self._ordered = itemgetter(*map(nodes.index, order))
        names = range(1, 1 + len(self._stems))
        self.stored_texts: Callable[[Sequence[str]], tuple[str, ...]]
        self.stored_texts = itemgetter(*names, *names, *range(1 + len(self._stems), len(order)))
        self._gaps = self.request([_GAP for _ in order])
        self.stored = Pattern(self._gaps.dump().decode())
        self._elements: dict[JobPlace, Pattern] = {}

    def texts_of(self, body: str) -> list[str] | None:
        """Return the texts of a body; None if it does not have this form."""
        texts, at = [], 0
        for start, length in self._starts:
            if not body.startswith(start, at):
                return None
            at += length
            end = body.find("<", at)
            texts.append(body[at:end])
            at = end
        is_whole = body[at:] == self._end and "" not in texts and _is_literal("".join(texts))
        return texts if is_whole else None

    def draft(self, texts: Sequence[str]) -> FormDraft:
        """Return the draft with these texts.

        Raises:
            Refusal: ``InvalidArgument``.
        """
        ordered = self._ordered(texts)
        places = ordered
        if self._has_own:
            checked_user_data(ordered[-1])
            places = ordered[:-1]
        joined = "/".join(places)
        # What check_objects would find: most have plain names, no wildcards, and no name twice.
        if "${" in joined or not keys.are_plain(joined) or len(set(places[1:])) < len(self._stems):
            check_objects(ordered[0], self.request(ordered))
        return FormDraft(self, ordered)

    def request(self, texts: Sequence[str]) -> JobRequest:
        """Return the request of a draft with these texts."""
        first = self._first
        output = {node: first.output[node] for node in TARGET_NODES}
        names = {}
        for (stem, node), name in zip(self._stems, texts[1:], strict=False):
            output[node] = names[stem] = name
        own = texts[-1] if self._has_own else ""
        return JobRequest(output, names, first.sound, user_data=own, callback=first.callback)

    def element(self, place: JobPlace) -> Pattern:
        """Return the pattern of the element of a new job."""
        pattern = self._elements.get(place)
        if pattern is None:
            if len(self._elements) >= MAX_PLACES:
                self._elements.clear()
            never = 0.0
            row = JobRow(_GAP, *place, self.level, _GAP, never, self._gaps)
            written = row.element().replace(vendor_time(never), _GAP, 1)
            pattern = self._elements[place] = Pattern(written)
        return pattern


class Reader:
    """Reads the bodies of submits."""

    def __init__(self, find_template: Callable[[str], Template]) -> None:
        self._parser = Parser(find_template)
        self._forms: list[Form] = []
        self._seen: deque[tuple[str, ...]] = deque(maxlen=MAX_FORMS)
        """The markup between the texts of the last bodies without a form."""

    def read(self, body: bytes) -> tuple[str, Sequence[Draft | FormDraft]]:
        """Return the queue id, or an empty text, and the drafts, if every operation is valid.

        Raises:
            Refusal: ``MissingContent``, ``InvalidContent``, ``InvalidArgument``,
                ``TemplateNotFound``.
        """
        text = _text(body)
        for form in self._forms:
            texts = form.texts_of(text)
            if texts is not None:
                return form.queue_id, [form.draft(texts)]
        root = xml.read(body)
        queue_id, drafts = self._parser.parse(root)
        self._learn(text, root, queue_id, drafts)
        return queue_id, drafts

    def _learn(self, text: str, root: Node, queue_id: str, drafts: Sequence[Draft]) -> None:
        """Make a form of a body, unless it is the first of its kind: it may be the only one."""
        spans = [match.span(1) for match in _TEXT.finditer(text)]
        edges = [0, *(edge for span in spans for edge in span), len(text)]
        rest = tuple(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
        if rest not in self._seen:
            self._seen.append(rest)
            return
        texts = [text[start:end] for start, end in spans]
        nodes = _nodes_of(texts, rest, root, drafts)
        if nodes:
            new = Form(rest, nodes, drafts[0], queue_id)
            self._forms = [new, *self._forms][:MAX_FORMS]


def _text(body: bytes) -> str:
    """Return a body as a text; empty if it cannot have a form."""
    if len(body) > MAX_BODY:
        return ""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""


def _nodes_of(
    texts: Sequence[str], rest: Sequence[str], root: Node, drafts: Sequence[Draft]
) -> list[str]:
    """Return the nodes of the texts of a submit.

    None, if it has several jobs, a template, or texts or markup out of the ordinary.
    """
    first, nodes, every = drafts[0].request, _free_nodes(root), list(root.iter())
    if (
        len(drafts) > 1
        or first.multi
        or first.template_id
        or not _is_literal("".join(texts))
        or any(_HIDING.search(part) or _GAP in part for part in rest)
        or any(len(node) for node in nodes)
        or [node.text for node in every if node in nodes] != texts
    ):
        return []
    # The texts of the body are those of these nodes, and nothing else of the tree depends on them.
    return [nodes[node] for node in every if node in nodes]


def _free_nodes(root: Node) -> dict[Node, str]:
    """Return the nodes whose texts differ from submit to submit, with their names."""
    operation = root.find("Operation")
    output = operation.find("Output") if operation is not None else None
    places = [(root.find("Input"), "Object", _INPUT), (operation, "UserData", _USER_DATA)]
    places += [(output, node, node) for node in STEM_NODES.values()]
    found = {}
    for parent, name, role in places:
        node = parent.find(name) if parent is not None else None
        if node is not None and node.text:
            found[node] = role
    return found
