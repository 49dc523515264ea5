package weir.bench;

import com.datastax.oss.common.sink.AbstractSinkRecord;
import com.datastax.oss.common.sink.AbstractSinkRecordHeader;
import com.datastax.oss.common.sink.AbstractSinkTask;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

/** Kafka Connect's records in, the engine's records out; a failed record fails the whole put. */
public class CassandraSinkTask extends SinkTask {
    private final AtomicReference<ConnectException> failure = new AtomicReference<>();

    private final AbstractSinkTask engine = new AbstractSinkTask() {
        @Override
        protected void beforeProcessingBatch() {
            failure.set(null);
        }

        @Override
        protected void handleFailure(AbstractSinkRecord record, Throwable e, String cql, Runnable count) {
            // no statement: the record could not be mapped, and never will be
            failure.compareAndSet(null, cql == null ? new ConnectException(e) : new RetriableException(e));
            count.run();
        }

        @Override
        public String version() {
            return "1";
        }

        @Override
        public String applicationName() {
            return "weir-bench";
        }
    };

    @Override
    public void start(Map<String, String> settings) {
        engine.start(settings);
    }

    @Override
    public void put(Collection<SinkRecord> records) {
        List<AbstractSinkRecord> batch = new ArrayList<>(records.size());
        for (SinkRecord r : records) {
            batch.add(new Record(r));
        }
        long start = System.currentTimeMillis();
        engine.put(batch);    // returns when Cassandra has answered every write
        if (!batch.isEmpty()) {
            // read by `weir-bench sink` from the worker's log
            System.out.printf("PUT %d %d %d%n", start, System.currentTimeMillis(), batch.size());
        }
        ConnectException e = failure.get();
        if (e != null) {
            throw e;
        }
    }

    @Override
    public void stop() {
        engine.stop();
    }

    @Override
    public String version() {
        return "1";
    }

    /** Schemaless only: the value is the JSON text (StringConverter) or a map; headers are left out. */
    private record Record(SinkRecord inner) implements AbstractSinkRecord {
        @Override
        public Iterable<AbstractSinkRecordHeader> headers() {
            return List.of();
        }

        @Override
        public Object key() {
            return inner.key();
        }

        @Override
        public Object value() {
            return inner.value();
        }

        @Override
        public Long timestamp() {
            return inner.timestamp();
        }

        @Override
        public String topic() {
            return inner.topic();
        }
    }
}
