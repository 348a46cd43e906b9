"""What clients touch: requests in, answers out, pages for people, the operators' port.

Hot is the way of a POST through ``front.wire``; everything else may take its time.
May import ``engine`` and what is below; of it the door of a chain and values, no more.
Must not parse what is inside a JSON-RPC body, and must not judge an upstream.
"""
