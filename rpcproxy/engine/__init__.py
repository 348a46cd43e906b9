"""Does things in time: drives the pure rules with a clock, and sends through ``edges``.

``pipeline`` is the front's door, ``local`` what the proxy knows itself, ``profiles`` what each
method needs. ``ways`` decides how a read goes, ``reads`` goes there, under ``terms``; ``endings``
end it, and ``followers`` may ask again. ``encoder`` makes what clients get. ``express`` carries the
usual read, ``executor`` every other (``carried`` by a task, with ``patience`` for what nobody could
answer), ``batches`` many at once (``batch_sizes`` says in how
many parts, ``gathered`` holds the replies), ``broadcast`` sends, in several ``copies``. All go as
``calls``, in ``attempts``; some are ``lingering``, ``doubts`` find out why some are late, their
ends are ``lessons``, errors have ``hearings``. ``ranges`` asks in parts; ``streaming`` large
answers.

``ledger`` knows the transactions that wallets were told are sent, ``rebroadcast`` looks after
them, ``privacy`` says which are private, ``private_reads`` answers for these, ``whereabouts``
finds one without its hash, and ``other_hashes`` are those that are not ours to compute.

``sharing`` keeps answers and joins what asks the same (``shared_text``: large ones); ``truth``
holds each against what was told (hashes ``seen``, ``nonces``, what is ``preconfirmed``) and what a
block says of its ``contents``; ``tagged`` are those from a block that only the upstream knows;
``told`` the head as clients know it.

``watcher`` asks for heads by ``probes``, ``feeds`` hears them, ``linker`` fetches what lies
between; ``genesis`` asks for block 0; ``state_checks`` and ``audits`` compare upstreams,
``hash_proofs`` tell who takes a block's hash. Every outcome goes to ``Standings.observe``; tasks
are started through ``tasks.start`` alone, and long work goes by ``turns``. ``explain`` tells what
would become of a request. ``traced`` puts spans around it where traces are on.
"""
