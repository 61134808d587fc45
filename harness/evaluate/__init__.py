"""The stages of a trial after its training: what is measured of a model or a control."""
