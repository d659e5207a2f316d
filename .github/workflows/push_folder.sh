#!/usr/bin/env bash
# push_folder.sh FOLDER BRANCH: make a branch of origin hold this folder and nothing else, in one commit without a past.
set -euo pipefail
folder=$1 branch=$2
[[ -d $folder ]] || { echo "$folder is not there: make it first" >&2; exit 2; }
index=$(mktemp -d)/index
GIT_INDEX_FILE=$index git --work-tree="$folder" add --all --force .
tree=$(GIT_INDEX_FILE=$index git write-tree)
export GIT_AUTHOR_NAME=workflow GIT_AUTHOR_EMAIL=workflow@localhost
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
made=$(git commit-tree "$tree" -m "Made from commit $(git rev-parse HEAD)")
git push --force origin "$made:refs/heads/$branch"
