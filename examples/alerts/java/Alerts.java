import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Prints alerts of weir, a line each, once each, and ends after {@code --count} of them, or never.
 *
 * <p>Put your own action in the place of {@link #handle}. An alert is committed after it was
 * handled: when that fails, or the program is killed, it comes again. What cannot be read is
 * skipped with a message.
 */
public class Alerts {
    /** A record can come twice; so many ids are remembered to notice it. */
    private static final int REMEMBERED = 10_000;

    private static final ObjectMapper JSON =
            new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
    private static final PrintStream OUT =
            new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

    /** What {@link #handle} needs of an alert. */
    record Alert(String id, String subject, String state, double score, String why) {}

    /** Says why a record is no alert. */
    static class NoAlert extends Exception {
        private static final long serialVersionUID = 1;

        NoAlert(String why) {
            super(why);
        }
    }

    private final Set<String> seen = new HashSet<>();
    private final Queue<String> oldest = new ArrayDeque<>();
    private int handled = 0;

    /** Does what is to be done about an alert; an exception ends the program, nothing is committed. */
    private static void handle(Alert alert) throws IOException {
        OUT.println(String.format(Locale.ROOT, "%s %s score %.2f %s",
                alert.state, alert.subject, alert.score, alert.why));
        if (OUT.checkError()) {
            throw new IOException("standard output is gone");
        }
    }

    /** The alert in the value of a record. Fields that are not known here are left alone. */
    private static Alert read(byte[] value) throws NoAlert {
        if (value == null) {
            throw new NoAlert("no value");
        }
        JsonNode alert;
        try {
            alert = JSON.readTree(value);
        } catch (JsonProcessingException e) {
            throw new NoAlert("not an alert: " + e.getOriginalMessage());
        } catch (IOException e) {
            throw new NoAlert("not an alert: " + e.getMessage());
        }
        JsonNode data = alert.path("data");
        JsonNode score = data.path("score");
        if (!score.isNumber()) {
            throw new NoAlert("not an alert: `score` is not a number");
        }
        String state = text(data, "state");
        if (!state.equals("firing") && !state.equals("resolved")) {
            throw new NoAlert("a state that is not known here: " + state);
        }
        return new Alert(text(alert, "id"), text(alert, "subject"), state, score.asDouble(), text(data, "why"));
    }

    private static String text(JsonNode node, String name) throws NoAlert {
        JsonNode value = node.path(name);
        if (!value.isTextual()) {
            throw new NoAlert("not an alert: `" + name + "` is not text");
        }
        return value.textValue();
    }

    /** Handles one record, or skips it. */
    private void take(ConsumerRecord<byte[], byte[]> record, String place) throws IOException {
        try {
            Alert alert = read(record.value());
            if (!seen.contains(alert.id)) {
                handle(alert);
                handled++;
                seen.add(alert.id);
                oldest.add(alert.id);
                if (oldest.size() > REMEMBERED) {
                    seen.remove(oldest.remove());
                }
            }
        } catch (NoAlert e) {
            System.err.println("skipped " + place + ": " + e.getMessage());
        }
    }

    private void run(KafkaConsumer<byte[], byte[]> consumer, int count) throws IOException {
        while (true) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                String place = record.topic() + " [" + record.partition() + "] at offset " + record.offset();
                take(record, place);
                // The work is done: only now is the record not to come again.
                try {
                    consumer.commitSync(Map.of(
                            new TopicPartition(record.topic(), record.partition()),
                            new OffsetAndMetadata(record.offset() + 1)));
                } catch (CommitFailedException | RetriableException e) {
                    // The partition went to another consumer, or Kafka is away.
                    System.err.println(place + " is not committed and may come again: " + e.getMessage());
                }
                if (count > 0 && handled == count) {
                    return;
                }
            }
        }
    }

    private static Map<String, String> options(String[] args) {
        Map<String, String> options = new HashMap<>(Map.of(
                "--brokers", "localhost:9092", "--topic", "weir.alerts", "--group", "alert-printer", "--count", "0"));
        for (int i = 0; i < args.length; i += 2) {
            if (i + 1 == args.length || options.replace(args[i], args[i + 1]) == null) {
                System.err.println("usage: Alerts [--brokers HOST:PORT,…] [--topic T] [--group G] [--count N]");
                System.exit(2);
            }
        }
        return options;
    }

    public static void main(String[] args) throws IOException {
        Map<String, String> options = options(args);
        // TLS and passwords belong here, too: security.protocol, ssl.truststore.location, sasl.jaas.config, …
        Map<String, Object> settings = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("--brokers"),
                ConsumerConfig.GROUP_ID_CONFIG, options.get("--group"),
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            Thread main = Thread.currentThread();
            // SIGTERM and Ctrl-C: the consumer leaves its group; what was not committed comes again.
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                consumer.wakeup();
                try {
                    main.join();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }));
            consumer.subscribe(List.of(options.get("--topic")));
            new Alerts().run(consumer, Integer.parseInt(options.get("--count")));
        } catch (WakeupException e) {
            // Asked to end.
        }
    }
}
