"""The judgement of trained models: files of trees or graphs, checked before they are loaded, scored with contributions."""
