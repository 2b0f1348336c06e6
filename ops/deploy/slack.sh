#!/usr/bin/env bash
# Tells a Slack channel something, with a link to the run of the pipeline where there is one.
#   SLACK_WEBHOOK=https://… ops/deploy/slack.sh "text"
set -euo pipefail

text=${1:?use: slack.sh TEXT}
if [ -n "${GITHUB_RUN_ID:-}" ]; then
    text="$text <$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/${RUN_ID:-$GITHUB_RUN_ID}|run>"
fi
# The address is a secret, so it is not among the arguments that other processes see.
jq --null-input --arg text "$text" '{ text: $text }' |
    curl --fail-with-body --silent --show-error --max-time 20 --retry 5 --retry-all-errors \
        --header 'content-type: application/json' --data-binary @- \
        --config <(printf 'url = "%s"\n' "${SLACK_WEBHOOK:?the secret SLACK_WEBHOOK is not set}")
