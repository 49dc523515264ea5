// Prints alerts of weir, a line each, once each, and ends after -count of them, or never.
//
// Put your own action in the place of handle. An alert is committed after it was handled: when that
// fails, or the program is killed, it comes again. What cannot be read is skipped with a message.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A record can come twice; so many ids are remembered to notice it.
const remembered = 10_000

// What handle needs of an alert. Fields that are not known here are left alone.
type alert struct {
	ID      *string `json:"id"`
	Subject *string `json:"subject"`
	Data    struct {
		State *string  `json:"state"`
		Score *float64 `json:"score"`
		Why   *string  `json:"why"`
	} `json:"data"`
}

// handle does what is to be done about an alert; an error ends the program, nothing is committed.
func handle(a alert) error {
	_, err := fmt.Printf("%s %s score %.2f %s\n", *a.Data.State, *a.Subject, *a.Data.Score, *a.Data.Why)
	return err
}

// read gives the alert in the value of a record, or says why there is none.
func read(value []byte) (alert, error) {
	var a alert
	if value == nil {
		return a, errors.New("no value")
	}
	if err := json.Unmarshal(value, &a); err != nil {
		return a, fmt.Errorf("not an alert: %w", err)
	}
	if a.ID == nil || a.Subject == nil || a.Data.State == nil || a.Data.Score == nil || a.Data.Why == nil {
		return a, errors.New("not an alert: a field is missing")
	}
	if state := *a.Data.State; state != "firing" && state != "resolved" {
		return a, fmt.Errorf("a state that is not known here: %s", state)
	}
	return a, nil
}

// A memory of the ids that came last.
type memory struct {
	seen   map[string]bool
	oldest []string
}

func (m *memory) add(id string) {
	m.seen[id] = true
	m.oldest = append(m.oldest, id)
	if len(m.oldest) > remembered {
		delete(m.seen, m.oldest[0])
		m.oldest = m.oldest[1:]
	}
}

func run(ctx context.Context, client *kgo.Client, count int) error {
	known := memory{seen: map[string]bool{}}
	handled := 0
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil // asked to end
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			fmt.Fprintf(os.Stderr, "Kafka: %s [%d]: %v\n", topic, partition, err)
		})
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			place := fmt.Sprintf("%s [%d] at offset %d", record.Topic, record.Partition, record.Offset)
			if a, err := read(record.Value); err != nil {
				fmt.Fprintf(os.Stderr, "skipped %s: %v\n", place, err)
			} else if !known.seen[*a.ID] {
				if err := handle(a); err != nil {
					return err
				}
				handled++
				known.add(*a.ID)
			}
			// The work is done: only now is the record not to come again.
			if err := client.CommitRecords(ctx, record); err != nil {
				// The partition went to another consumer, or Kafka is away.
				fmt.Fprintf(os.Stderr, "%s is not committed and may come again: %v\n", place, err)
			}
			if count > 0 && handled == count {
				return nil
			}
		}
		client.AllowRebalance()
	}
}

func main() {
	brokers := flag.String("brokers", "localhost:9092", "HOST:PORT, several with commas between")
	topic := flag.String("topic", "weir.alerts", "topic of the alerts")
	group := flag.String("group", "alert-printer", "consumer group")
	count := flag.Int("count", 0, "end after so many; 0: never")
	flag.Parse()

	// SIGTERM and Ctrl-C: the consumer leaves its group; what was not committed comes again.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(*brokers, ",")...),
		kgo.ConsumerGroup(*group),
		kgo.ConsumeTopics(*topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		// No partition moves to another consumer between a poll and the commits that follow it.
		kgo.BlockRebalanceOnPoll(),
		// TLS and passwords belong here, too: kgo.DialTLSConfig, kgo.SASL.
	)
	if err == nil {
		err = run(ctx, client, *count)
		client.CloseAllowingRebalance()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
