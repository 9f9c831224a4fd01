#!/bin/sh
# Ends the process of the pid file and waits until it is gone. After a reboot the number may belong to another program,
# so its command line is looked at first.
set -eu
pid_file=${HOSTLER_ROOT:-}/opt/java-jar/run/server.pid
ours() { tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -q -- '-jar server\.jar '; }

[ -f "$pid_file" ] || { echo "there is no pid file, so nothing runs"; exit 0; }
pid=$(cat "$pid_file")
if ours "$pid"; then
	kill "$pid"
	tries=$((${HOSTLER_DEADLINE:-60} / 2))
	while ours "$pid" && [ "$tries" -gt 0 ]; do
		tries=$((tries - 1))
		sleep 1
	done
	if ours "$pid"; then
		echo "process $pid did not end by itself and is killed" >&2
		kill -9 "$pid"
	fi
	echo "process $pid has ended"
else
	echo "process $pid is not ours; nothing runs"
fi
rm -f "$pid_file"
