#!/bin/sh
# Users of Kafka and their rights, one call for each. Running it again changes what differs. Passwords are in files and never in an
# argument: a user's is the file of its name in /passwords.
set -eu
umask 077

bin=/opt/kafka/bin
cat >/tmp/admin.properties <<END
security.protocol=SSL
ssl.keystore.type=PEM
ssl.keystore.location=/tls/tls.pem
ssl.truststore.type=PEM
ssl.truststore.location=/tls/ca.crt
END

user() {
    # A password that is missing ends this script; as an argument of printf it would be an empty one.
    password=$(cat "/passwords/$1")
    printf 'SCRAM-SHA-512=password=%s\n' "$password" >/tmp/user.properties
    "$bin/kafka-configs.sh" --bootstrap-server "$KAFKA_NODES" --command-config /tmp/admin.properties \
        --alter --entity-type users --entity-name "$1" --add-config-file /tmp/user.properties
    rm /tmp/user.properties
}

may() {
    name=$1
    shift
    "$bin/kafka-acls.sh" --bootstrap-server "$KAFKA_NODES" --command-config /tmp/admin.properties \
        --add --allow-principal "User:$name" "$@"
}

# A topic that a consumer finds missing, it makes: the four of the pipeline, and no other.
own='--topic images --topic images.dead-letter --topic predictions --topic predictions.dead-letter'

# Ids that last are claimed.
user producer
may producer --operation Write --topic images
may producer --operation Create --topic images.producers
may producer --operation Read --topic images.producers
may producer --operation Write --topic images.producers
may producer --operation Read --group firesteel-producers

user consume-images
may consume-images --operation Create $own
may consume-images --operation Read --topic images
may consume-images --operation DescribeConfigs --topic images
may consume-images --operation Write --topic predictions --topic images.dead-letter
may consume-images --operation Read --group firesteel-images

user consume-predictions
may consume-predictions --operation Create $own
may consume-predictions --operation Read --topic predictions
may consume-predictions --operation DescribeConfigs --topic predictions
may consume-predictions --operation Write --topic predictions.dead-letter
may consume-predictions --operation Read --group firesteel-predictions

# Tables of topics. A scan is in no group, and names one of its own.
user sql
may sql --operation Read $own
may sql --operation Read --group firesteel-scan- --resource-pattern-type prefixed

# Whoever looks into dead letters and replays them. A replay makes the topics of its marks where they are missing.
user dead-letters
may dead-letters --operation Read $own
may dead-letters --operation Read --topic images.dead-letter.replayed --topic predictions.dead-letter.replayed
may dead-letters --operation Create --topic images.dead-letter.replayed --topic predictions.dead-letter.replayed
may dead-letters --operation Write --topic images --topic images.dead-letter.replayed
may dead-letters --operation Write --topic predictions --topic predictions.dead-letter.replayed
may dead-letters --operation Read --group firesteel-dead-letters
may dead-letters --operation Write --transactional-id firesteel-replay- --resource-pattern-type prefixed

# Looks at lags.
user keda
may keda --operation Describe --topic images --topic predictions
may keda --operation Describe --group firesteel-images --group firesteel-predictions
