"""What a policy did on a history: figures, each rule's record, old against new, what a holdout corrects."""
