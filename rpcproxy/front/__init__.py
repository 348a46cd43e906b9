"""What clients touch. ``listener`` owns the port; ``http`` is the hot path on it.

``connection`` the life of one, ``reader`` requests out of bytes by ``heads`` (strict parser,
memory) and ``body``; ``responses``, ``streams`` and ``encoding`` (gzip) the way back; ``cors``;
``shared`` what connections share. ``handover`` gives whatever is not POST to aiohttp, which serves
``web``; ``admin`` serves the operators' port, ``transactions`` those pages of it.
"""
