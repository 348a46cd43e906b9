"""What each kind of chain means, as data. Pure; a row of a table cites its source beside it.

``methods`` what is known of a method; ``evm`` the door to the EVM's tables: ``evm_methods``,
``evm_blocks`` (block parameters, heads), ``evm_pins`` (tags become numbers), ``evm_answers`` (which
block an answer is in), ``evm_claims`` (whether it names it well), ``evm_contents`` (what a block
holds), ``evm_joins`` (searches in parts), ``evm_errors``, ``evm_shapes`` (how params are built),
``evm_transactions`` ``evm_transactions`` (hashes), ``evm_signed`` (what a signed transaction says),
``evm_waiting`` (what nodes say of one that waits), ``evm_said_hashes`` (hashes in refusals),
``evm_user_operations``, ``evm_zksync``, ``evm_pending`` (how it is shown while it waits), ``rlp``
how they are written; ``known`` ``known`` chains by name, ``native`` their coins, ``public``
``public`` endpoints of theirs. Tables belong to one kind of chain: one number means opposite things
on two kinds.
"""
