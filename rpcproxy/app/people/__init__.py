"""What people are told of the proxy: status, the day in words, transactions, weeks, webhooks.

Samples of all chains every few seconds feed the rest; nothing here is asked during a request.
May import ``app.chain``, ``app.storage``, and every floor below.
Must not change what it tells of, nor hold up who serves: receivers and disks may hang.
"""
