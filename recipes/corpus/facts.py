"""Sentences that state a fact of some form, and what a person who does not know it asks."""

import re

_NP = r"(?:[\w'’-]+ ){0,3}[\w'’-]+"
_X = rf"(?P<x>(?:(?:[Tt]he|[Aa]n?) )?{_NP})"
_COUNTS = "two|three|four|five|six|seven|eight|ten|twelve|hundreds of|thousands of|millions of"
_WHERE = "(?:in|of|per|for|on|with)"
_ASPECTS = (
    "causes?|symptoms?|effects?|types?|kinds?|benefits?|role|purpose|history|definition|advantages?|disadvantages|"
    "risks?|cost|structure|function|theory|origins?|uses?|methods?|forms?|stages?|level|rate|importance|development|"
    "prevalence|treatment|rise|value"
)
_EFFECT = "causes?|leads? to|results? in|increases?|reduces?|prevents?|affects?|improves?"
_CLAIM = "argued?|argues|wrote|believed|claimed|proposed|discovered|invented|founded"

_FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        rf"^{_X} (?P<be>was|were) (?P<v>\w+(?:ed|t|n|ne)) [^.]*?\b(?:in|on) [^.]{{0,20}}\b1\d\d\d\b",
        ("when {be} {x} {v}", "what year {be} {x} {v}", "{x} {v} date"),
    ),
    (rf"^{_X} (?P<be>was|were) (?P<v>\w+ed) by ", ("who {v} {x}", "{x} {v} by", "by whom {be} {x} {v}")),
    (
        rf"\b(?:\d[\d,.]*|{_COUNTS}) (?P<x>(?:[a-z-]+ ){{0,2}}[a-z]+s) (?P<r>{_WHERE} (?:the |an? )?{_NP})",
        ("how many {x} {r}", "how many {x} are there {r}", "number of {x} {r}"),
    ),
    (
        rf"^{_X} (?P<be>is|are|was|were) (?:located|found|situated|held|kept|used) (?:in|on|at|near) ",
        ("where {be} {x}", "where {be} {x} located", "{x} location", "where can you find {x}"),
    ),
    (
        rf"^{_X} (?P<be>is|are|was|were) (?:a|an|the|one of) (?P<k>{_NP})",
        ("what {be} {x}", "what {be} {x}", "{x} definition", "{be} {x} a {k}", "define {x}", "{x} {k}"),
    ),
    (
        rf"^{_X} (?:is|are) (?:used|needed|designed|intended) (?:to|for|as) ",
        ("what is {x} used for", "purpose of {x}", "why do we need {x}", "uses of {x}"),
    ),
    (
        rf"^{_X} (?:consists?|is made up|are made up|is composed|are composed|contains?|includes?) ",
        ("what is {x} made of", "what does {x} contain", "components of {x}", "{x} structure"),
    ),
    (
        rf"^{_X} (?P<v>{_EFFECT}) (?P<o>{_NP})",
        ("does {x} affect {o}", "effect of {x} on {o}", "how does {x} affect {o}", "what {v} {o}", "{o} {x}"),
    ),
    (
        rf"\b(?P<w>{_ASPECTS}) of (?P<x>(?:the )?{_NP})",
        ("{w} of {x}", "what is the {w} of {x}", "{x} {w}", "{w} of {x}"),
    ),
    (
        rf"^(?:Because|Since|As) {_X} (?P<v>\w+) (?P<o>{_NP})",
        ("why {x} {v} {o}", "why does {x} {v} {o}"),
    ),
    (
        rf"\b(?P<k>{_NP}),? such as (?P<o>{_NP})",
        ("examples of {k}", "{k} examples", "is {o} a {k}", "what are {k}"),
    ),
    (
        rf"\b(?:differences?|relationship|connection|distinction|interaction) between (?P<x>{_NP}) and (?P<o>{_NP})",
        ("difference between {x} and {o}", "{x} vs {o}", "how are {x} and {o} related"),
    ),
    (
        rf"^(?:If|When) you (?:want|need|wish|would like) to (?P<v>\w+ {_NP})",
        ("how to {v}", "how do i {v}", "how can i {v}", "{v}"),
    ),
    (rf"^To (?P<v>[a-z]+ {_NP}),", ("how to {v}", "how do you {v}", "steps to {v}", "how can i {v}")),
    (rf"\bYou can (?P<v>(?!also)[a-z]+ {_NP})", ("how to {v}", "can you {v}", "how do i {v}")),
    (
        rf"^{_X} (?P<v>{_CLAIM}) (?:that )?(?P<o>{_NP})",
        ("what did {x} say about {o}", "{x} on {o}", "who {v} {o}", "{x} {o} theory"),
    ),
)

FACTS = tuple((re.compile(pattern), templates) for pattern, templates in _FORMS)
"""From a pattern to the questions that a match of it answers, with the pattern's groups as their blanks."""
