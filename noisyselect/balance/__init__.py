"""Class balance: quotas and weights, edited nearest neighbours, KNN mixup."""
