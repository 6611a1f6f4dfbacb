"""Detection of cerebral microbleeds on one MR volume (T2*-GRE, SWI or QSM). Not for clinical use.

The method is Sundaresan et al. 2023 (Front Neuroinform 17:1204186); the file listing shows its steps:
``step0_prepare`` -> ``step1_candidates`` -> ``step2_classify`` -> ``step3_cleanup``, joined in ``pipeline``.
"""

__version__ = "0.1.0"
