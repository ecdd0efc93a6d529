"""Deploys Touchline's CloudFormation stacks from two files: fleet.toml (pools, the dispatcher's own file) and
deployment.toml (what only this account knows: images, addresses, networks).

Reading order: settings (the two files, checked) -> stacks (which stacks with which parameters; pure) -> configuration
(touchline.toml for dispatchers and workers; pure) -> cloudformation (change sets) -> cli.
"""
