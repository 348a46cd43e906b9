"""What clients touch: ``http`` the hot path, ``web`` everything that is not POST, ``admin``
the pages for operators, ``cors``, ``encoding``, ``heads`` (remembered request heads).
"""
