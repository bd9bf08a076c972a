"""A judge: a language model behind a server that marks reasoning by a fixed rubric. Optional; nothing asks it unbidden.

    RUN/judges/<judge>/judge.json                  the model, the rubric word for word, its hash, settings, counts
    RUN/judges/<judge>/answers.jsonl               every answer as it came, by the hash of what was asked
    RUN/judges/<judge>/<model>/<dataset>.jsonl     each sample's marks, or why it has none

Where the judge fails, a mark is missing, with its reason; it is never replaced by another.
"""
