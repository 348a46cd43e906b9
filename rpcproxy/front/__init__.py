"""What clients touch. ``listener`` owns the port; ``http`` is the hot path on it.

``connection`` the life of one, ``reader`` requests out of bytes by ``heads`` (strict parser,
memory) and ``body``; ``answering`` with ``responses``, ``streams`` and ``encoding`` (gzip) the way
back; ``cors``; ``shared`` what connections share, ``sites`` what one client has of addresses.
``web`` answers whatever is no POST, by values of ``page`` (``upgrades`` who wants another
protocol); ``traced`` hears of a client's trace; ``admin`` serves the operators' port on the
connections of ``admin_connection``, ``transactions`` those pages of it, ``control`` what operators
change there, ``access`` who may, ``recent`` the last of what happened. Pages for people, with
``pages/`` for their styles and scripts: ``status_page`` (``status_html`` draws it, ``live`` keeps
it up to date, ``outlook`` is what it tells) and ``landing``, in the ``wording`` that the terminal
has, by ``markup`` that escapes everything.
"""
