"""Claims and how runs decide them: a claim is a sentence with a criterion, judged on data (`look`).

`criteria` has those that look at one effect, `several` those of several parts. The claims themselves stand with the
figures of their paper, in `neoteny.report.papers`. `page` lists the verdicts.
"""
