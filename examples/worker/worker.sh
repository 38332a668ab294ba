# Works on one item after another. SIGTERM, which a deploy, a scale-down or a restart brings, ends it between two
# items and never in the middle of one.
stop=''
trap 'stop=yes' TERM

n=0
while [ -z "$stop" ]; do
	n=$((n + 1))
	sleep "${SECONDS_PER_ITEM:-1}" &                    # the work
	while kill -0 $! 2>/dev/null; do wait $!; done # the signal interrupts wait, not the work
	date >/tmp/beat                                # for the health check
	echo "$(hostname) has done item $n"
done
echo "$(hostname) stops after $n items"
