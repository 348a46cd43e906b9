"""The EVM: methods, questions, block parameters, what answers claim, what a block holds.

Reads and builds JSON of Ethereum's API. Its parts are constants (``EVM_PINS``, ``EVM_CLAIMS`` …)
that ``chains.registry`` puts together; nobody else imports them. May import what is of every kind
in ``chains``, ``arrays`` and ``messages``. Must not know other kinds of chain.
"""
