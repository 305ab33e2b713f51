#!/bin/sh
# Starts Kafka as the image apache/kafka does: a variable KAFKA_A_B is the setting a.b.
set -eu

settings=/tmp/server.properties
env | sed -n 's/^KAFKA_\([A-Z_]*\)=\(.*\)$/\1 \2/p' | while read -r name value; do
    case $name in HEAP_OPTS | OPTS | JVM_PERFORMANCE_OPTS) continue ;; esac
    echo "$(echo "$name" | tr A-Z_ a-z.)=$value"
done >"$settings"

run() { java ${KAFKA_HEAP_OPTS:-} -XX:+ExitOnOutOfMemoryError -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties -cp '/opt/kafka/libs/*' "$@"; }
run kafka.tools.StorageTool format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$settings"
exec java ${KAFKA_HEAP_OPTS:-} -XX:+ExitOnOutOfMemoryError -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties -cp '/opt/kafka/libs/*' \
    kafka.Kafka "$settings"
