"""What `cco init` puts into a repository, so that a person's own Claude Code coordinates through the sidecar."""
