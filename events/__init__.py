"""What happens in Headrace, as types: facts from outside, decided events, published outputs.

One module a subject, no I/O. `INPUTS` and `OUTPUTS` list the wire events of this release.
"""
