"""Raw video -> clip: what each stage of `sspnerf prepare` does (docs/prepare.md)."""
