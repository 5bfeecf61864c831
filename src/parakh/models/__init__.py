"""The judgement of trained models: files of trees or graphs, checked before loading, scored with contributions."""
