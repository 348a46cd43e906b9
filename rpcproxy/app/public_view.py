"""What strangers may know of the proxy: how it stands, by names only.

What operators see, with everything taken out that is theirs: reasons, which may hold what a
provider or this machine said, and names that tell where a node listens.

State: a veil per chain, of the configuration in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpcproxy.app.serving import InForce
from rpcproxy.app.view import ProxyView
from rpcproxy.config.model import Config
from rpcproxy.config.public_names import Veil
from rpcproxy.front.operators.admin import told_plainly
from rpcproxy.front.pages.outlook import ChainOutlook, public_part


class PublicView:
    """See the module's docstring. ``view`` is what operators are told."""

    def __init__(self, proxy: InForce, view: ProxyView) -> None:
        self._proxy = proxy
        self._view = view
        self._config: Config | None = None
        self._veils: dict[str, Veil] = {}

    def status(self) -> Mapping[str, Any]:
        """``outlook.public_part`` of the status."""
        told = told_plainly(self._view.status(), self._proxy.redactor)
        veils = self._of_now()
        part = public_part(told)
        for key in ("sentence", "steady"):
            part[key] = self._of_all(part[key], part["chains"], key)
        part["chains"] = [veils[each["name"]].over(each) for each in part["chains"]]
        for key in ("incidents", "timeline"):
            part[key] = [
                veils[each["chain"]].over(each) if each["chain"] else each
                for each in part[key]
                if not each["chain"] or each["chain"] in veils
            ]
        return part

    def outlooks(self) -> dict[str, ChainOutlook]:
        """How each chain stands, for pages that show no more."""
        veils, redact = self._of_now(), self._proxy.redactor
        outlooks = self._view.outlooks()
        return {
            name: veils[name].over(told_plainly(each, redact)) for name, each in outlooks.items()
        }

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether every chain can be served, with its name and that of its upstreams where not."""
        is_ready, told = self._view.ready(is_public=True)
        veils = self._of_now()
        return is_ready, {
            key: {name: veils[name](words) for name, words in value.items()}
            if isinstance(value, dict)
            else value
            for key, value in told.items()
        }

    def _of_now(self) -> Mapping[str, Veil]:
        config = self._proxy.config
        if self._config is not config:
            self._config = config
            self._veils = {chain.name: Veil(chain.upstreams) for chain in config.chains}
        return self._veils

    def _of_all(self, sentence: str, chains: list[dict[str, Any]], key: str) -> str:
        """The sentence about all chains is one chain's, with others counted. One name may be
        another upstream in another chain.
        """
        veils = self._of_now()
        for chain in chains:
            if chain[key] in sentence:
                return veils[chain["name"]](sentence)
        for veil in veils.values():
            sentence = veil(sentence)
        return sentence
