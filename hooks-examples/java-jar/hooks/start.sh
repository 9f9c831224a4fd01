#!/bin/sh
# HOSTLER_ROOT is empty on a real host, so this is /opt/java-jar there.
set -eu
home=${HOSTLER_ROOT:-}/opt/java-jar
. ./app/server.conf
mkdir -p "$home/run"
cd "$home"
# Three things let the program outlive the script, and the script end at once: `nohup`, `&`, and an output that is not the
# script's. With the script's own output the agent would log what the program prints, and the CodeDeploy agent would wait.
# shellcheck disable=SC2086 # several options in one variable
nohup java $JAVA_OPTIONS -jar server.jar "$PORT" "$DEPLOYMENT_ID" >>run/server.log 2>&1 </dev/null &
echo $! >run/server.pid
echo "started process $!, which logs to $home/run/server.log"
