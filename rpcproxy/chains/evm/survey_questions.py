"""What a check asks of EVM upstreams, beside what is asked of them while they serve."""

from __future__ import annotations

from typing import Final

import msgspec

from rpcproxy.chains.evm.blocks import parse_quantity
from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.evm.questions import CHAIN_ID
from rpcproxy.chains.kind import Ability, Survey
from rpcproxy.chains.parts.inquiries import JsonText, Question

LOG_BLOCKS: Final = 1000
MULTICALL_BYTES: Final = 22 * 1024

# The same address on almost every chain (mds1/multicall3). Where it is not, a call to it answers
# nothing, which is an answer as well.
_MULTICALL3: Final = "0xca11bde05977b3631167028862be2a173976ca11"
_AGGREGATE3: Final = "82ad56cb"  # aggregate3((address,bool,bytes)[])
_ETH_BALANCE: Final = "4d2301cc"  # getEthBalance(address)
_ZERO: Final = "0x" + "00" * 20


def _anything(result: JsonText) -> object:
    """Only the verdict counts."""
    return result


def _text(result: JsonText) -> str | None:
    try:
        return msgspec.json.decode(result, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _question(method: str, params: str) -> Question[object]:
    return Question(describe(method), params.encode(), _anything)


def balance_at(number: int) -> Question[object]:
    """The balance of nobody's account."""
    return _question("eth_getBalance", f'["{_ZERO}","0x{number:x}"]')


def logs_until(head: int) -> Question[object]:
    """The logs of ``LOG_BLOCKS`` blocks, of nobody's account: what is wide is the range, not the
    answer.
    """
    first = max(0, head - LOG_BLOCKS + 1)
    searched = f'[{{"fromBlock":"0x{first:x}","toBlock":"0x{head:x}","address":"{_ZERO}"}}]'
    return _question("eth_getLogs", searched)


def multicall(head: int = 0) -> Question[object]:
    """A multicall of about ``MULTICALL_BYTES``, as wallets and dapps send them for balances, of
    balances that anybody may ask for.
    """
    del head
    # Each entry: an offset; target, may fail, offset of data, length, data in two words.
    entry = f"{_MULTICALL3[2:]:0>64}{1:064x}{96:064x}{36:064x}{_ETH_BALANCE}{0:064x}{'':0<56}"
    count = (MULTICALL_BYTES - 500) // (len(entry) + 64)
    size = len(entry) // 2
    offsets = "".join(f"{32 * count + size * index:064x}" for index in range(count))
    data = f"0x{_AGGREGATE3}{32:064x}{count:064x}{offsets}{entry * count}"
    return _question("eth_call", f'[{{"to":"{_MULTICALL3}","data":"{data}"}},"latest"]')


NUMBER: Final = Question(describe("eth_blockNumber"), b"[]", parse_quantity)
SURVEY: Final = Survey(
    ping=CHAIN_ID,
    number=NUMBER,
    batch=(CHAIN_ID, NUMBER, Question(describe("eth_gasPrice"), b"[]", parse_quantity)),
    version=Question(describe("web3_clientVersion"), b"[]", _text),
    large=Ability(f"a multicall of {MULTICALL_BYTES >> 10} KB", multicall),
    search=Ability(f"eth_getLogs over {LOG_BLOCKS:,} blocks", logs_until),
    state=balance_at,
)
