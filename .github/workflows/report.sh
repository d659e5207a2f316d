#!/usr/bin/env bash
# report.sh TITLE: open an issue for a failed run; where one with this title is open, add a comment to it.
set -euo pipefail
title=$1
body="It failed in $GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID"
open=$(gh issue list --state open --search "in:title \"$title\"" --json number --jq '.[0].number // empty')
if [[ -n $open ]]; then
  gh issue comment "$open" --body "$body"
else
  gh issue create --title "$title" --body "$body"
fi
