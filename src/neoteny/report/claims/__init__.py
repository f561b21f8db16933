"""Claims and how runs decide them: a claim is a sentence with a criterion (`criteria`), judged on data (`look`).

The claims themselves stand with the figures of their paper, in `neoteny.report.papers`. `page` lists the verdicts.
"""
