"""What each kind of chain means, as data. Pure; a row of a table cites its source beside it.

``methods`` what is known of a method; ``evm`` the door to the EVM's tables: ``evm_methods``,
``evm_shapes`` (how params are built), ``evm_blocks`` (block parameters, heads), ``evm_pins`` (tags
become numbers), ``evm_errors``. Of answers: ``evm_answers`` (which block one is in),
``evm_claims`` (whether it names it well), ``evm_contents`` (what a block holds), ``evm_joins``
(searches in parts). Of sends: ``evm_transactions`` (hashes), ``evm_signed`` (what a signed one
says), ``rlp`` (how it is written), ``evm_zksync`` and ``evm_user_operations`` (other kinds),
``evm_waiting`` (what nodes say of one that waits), ``evm_pending`` (how it is shown meanwhile),
``evm_said_hashes`` (hashes in refusals). ``known`` chains by name, ``native`` their coins,
``public`` endpoints of theirs. Tables belong to one kind of chain: one number means opposite
things on two kinds.
"""
