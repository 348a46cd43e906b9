"""Pure decisions: who is well, who is asked next, what an outcome means.

``classify`` outcome → judgement; ``breaker``, ``standing`` what is known of an upstream;
``domains`` fault domains; ``selection`` ranks and picks; ``failover`` the plan of one request;
``heads`` the served head; ``limits`` buckets and budgets; ``admission`` local answers.
``now`` (monotonic seconds) and ``rng`` are arguments.
"""
