"""What a kind of chain is to the engine: the whole contract, as values. Pure.

What is asked of upstreams is in ``inquiries``, what signed transactions are in ``transactions``. A
part that a kind lacks is ``None``, and the engine goes without it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import msgspec

from rpcproxy.chains.method import Method, MethodKind
from rpcproxy.chains.parts import param_shapes
from rpcproxy.chains.parts.asked_at import BlockNeed
from rpcproxy.chains.parts.claims import Claims
from rpcproxy.chains.parts.comparison import Comparison
from rpcproxy.chains.parts.contents import ContentsReader
from rpcproxy.chains.parts.errors import ErrorTable
from rpcproxy.chains.parts.heights import Pins, no_block
from rpcproxy.chains.parts.inquiries import Inquiry, JsonText, Question
from rpcproxy.chains.parts.searches import Searches
from rpcproxy.chains.parts.traits import Traits
from rpcproxy.chains.parts.transactions import Sends
from rpcproxy.messages import Head, Verdict


class Methods(msgspec.Struct, frozen=True):
    """The methods of a kind. ``describe`` says what is known, or presumed, of the one with that
    name. ``shape_of`` takes a name and params, and returns a short text that is the same for
    requests that upstreams take or refuse alike. Neither raises, whatever the name.
    """

    describe: Callable[[str], Method]
    shape_of: Callable[[str, JsonText], str] = param_shapes.shape_of


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine asks upstreams by itself. Each call begins a new inquiry.

    - ``identity``: what tells the chain from others of its kind, spelled as ``Chain.identity``
    - ``head``: the newest block
    - ``header``: of the block with this hash, and of no other
    - ``genesis``: the first block, with its hash; its number is ``first_number``
    - ``anchors``: by the names in ``Traits.anchors``, those that nodes tell
    - ``heavy``: the cheapest heavy read; only whether it is answered counts
    - ``state``: from the text of a recent block and the number that is compared, a piece of state
      that changes with each block; ``None`` where the block names none
    - ``hash_proof``: from the text and the hash of a block, two reads of its state: at its hash,
      and at a hash that no block has; ``None`` where the block does not say what to read
    """

    identity: Callable[[], Inquiry[str]]
    head: Callable[[], Inquiry[Head]]
    header: Callable[[str], Inquiry[Head]]
    genesis: Callable[[], Inquiry[Head]] | None = None
    first_number: int = 0
    anchors: Mapping[str, Callable[[], Inquiry[Head]]] = msgspec.field(default_factory=dict)
    heavy: Question[object] | None = None
    state: Callable[[bytes, int], Question[Hashable] | None] | None = None
    hash_proof: Callable[[bytes, str], tuple[Question[object], Question[object]] | None] | None = (
        None
    )


class Ability(msgspec.Struct, frozen=True):
    """Something that an upstream may do or not; ``title`` is what it is called among people.
    ``question`` takes the number of its newest block. Only whether it is answered counts.
    """

    title: str
    question: Callable[[int], Question[object]]


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What a check asks to find out what an upstream can do. ``None``, or empty: not asked.

    - ``ping``: a small question that everybody answers, who takes sends alone included
    - ``number``: that of the newest block, by a small question
    - ``batch``: three small questions or more, to be sent as one array
    - ``version``: the software that answers
    - ``large``: a request as large as programs send, ``search``: one over many blocks
    - ``state``: from a block's number, a piece of its state
    """

    ping: Question[Any]
    number: Question[int]
    batch: tuple[Question[Any], ...] = ()
    version: Question[str] | None = None
    large: Ability | None = None
    search: Ability | None = None
    state: Callable[[int], Question[object]] | None = None


class Announcements(msgspec.Struct, frozen=True, kw_only=True):
    """How upstreams announce blocks unasked: by a subscription over a WebSocket. ``title`` is what
    it is called among people.

    ``method`` and ``params`` (JSON text) subscribe, ``notice`` is the method of what comes then,
    ``life`` is a call (method, params) that every node answers. ``read`` takes the JSON text of
    what a notice tells, ``None`` where that is no block; ``refusal`` says what an error means, by
    its code and its words in lower case. Neither raises.
    """

    title: str
    method: str
    params: bytes
    notice: str
    life: tuple[str, bytes]
    read: Callable[[JsonText], Head | None]
    refusal: Callable[[int | None, str], Verdict]


class OwnWords(msgspec.Struct, frozen=True, kw_only=True):
    """What the proxy tells by itself. ``constants`` takes the chain's identity and returns JSON
    texts of results by method; ``head`` and ``listening`` are the methods that ask for the head,
    and whether anybody serves; ``head_text`` and ``flag_text`` make the JSON texts of their
    results.
    ``told_block`` says of which block the text that the question for the head brings answers a
    request: a number, ``LATEST``, or ``NONE``. It never raises.

    For the developer of a client: ``refused`` says why methods of a kind are not served, and
    ``refusal`` makes the message, from the name of a method and why.
    """

    constants: Callable[[str], Mapping[str, bytes]]
    head: str
    head_text: Callable[[int], bytes]
    listening: str
    flag_text: Callable[[bool], bytes]
    refused: Mapping[MethodKind, str]
    refusal: Callable[[str, str], str]
    told_block: Callable[[Method, JsonText], BlockNeed] = no_block


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of chain. ``name`` is for people and for logs. ``searches`` is ``None`` where none
    goes over a range of blocks.
    """

    name: str
    methods: Methods
    errors: ErrorTable
    questions: Questions
    own_words: OwnWords
    claims: Claims = Claims()
    contents: ContentsReader | None = None
    traits: Traits = Traits()
    sends: Sends | None = None
    announcements: Announcements | None = None
    pins: Pins = Pins()
    searches: Searches | None = None
    comparison: Comparison | None = None
    survey: Survey | None = None
