// A Go program of a day that counts the topic: the shape a team with Go would write.
//
// It reads with franz-go, decodes each event with hamba/avro, sums a window, adds the sums with
// BatchExecuteStatement in batches of 25, and commits. It has what the happy path needs and no
// more: the items must exist, an error ends it, and it knows neither fences nor dead letters.
// franz-go's defaults are kept, as it advises: it fetches ahead on all cores by itself.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// The most that BatchExecuteStatement takes.
	batchSize = 25
	// Requests in flight. They wait for the network more than they compute.
	concurrency = 8
)

// The last argument: what to count, and until when.
type plan struct {
	BootstrapServers string `json:"bootstrap_servers"`
	Topic            string `json:"topic"`
	Group            string `json:"group"`
	Events           int    `json:"events"`
	WindowMs         int    `json:"window_ms"`
	Table            string `json:"table"`
	Schema           string `json:"schema"`
}

// One event. What is not in the struct, hamba/avro skips.
type row struct {
	Key     string  `avro:"key"`
	Counter *string `avro:"counter"`
	Incr    int64   `avro:"incr"`
}

type counter struct{ key, name string }

// The clock that all processes of this machine share and the CPU time of this one, in seconds.
type moment [2]float64

type report struct {
	First     moment `json:"first"`
	Last      moment `json:"last"`
	PeakBytes int64  `json:"peak_bytes"`
}

func main() {
	if err := run(context.Background(), os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, argument string) error {
	var p plan
	if err := json.Unmarshal([]byte(argument), &p); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	schema, err := avro.ParseFiles(p.Schema)
	if err != nil {
		return err
	}
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	table := dynamodb.NewFromConfig(settings, func(o *dynamodb.Options) {
		// DynamoDB sends a checksum with its answers, the benchmark's sink none.
		o.DisableValidateResponseChecksum = true
	})
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(p.BootstrapServers, ",")...),
		kgo.ConsumerGroup(p.Group),
		kgo.ConsumeTopics(p.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// Offsets are committed after the writes, by hand.
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
	)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()

	var first moment
	for left := p.Events; left > 0; {
		sums, read, err := window(ctx, client, schema, p, left, &first)
		if err != nil {
			return err
		}
		if err := add(ctx, table, p.Table, sums); err != nil {
			return err
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
		client.AllowRebalance()
		left -= read
	}
	last := now()
	return json.NewEncoder(os.Stdout).Encode(report{first, last, peakBytes()})
}

// window sums what arrives until the window is over, or until that many events are read.
func window(
	ctx context.Context, client *kgo.Client, schema avro.Schema, p plan, left int, first *moment,
) (map[counter]int64, int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.WindowMs)*time.Millisecond)
	defer cancel()
	sums := make(map[counter]int64)
	read := 0
	for read < left {
		fetches := client.PollRecords(ctx, left-read)
		if ctx.Err() != nil && fetches.Empty() {
			break // the window is over
		}
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, 0, err
		}
		if *first == (moment{}) && !fetches.Empty() {
			*first = now()
		}
		for records := fetches.RecordIter(); !records.Done(); read++ {
			var event row
			if err := avro.Unmarshal(schema, records.Next().Value, &event); err != nil {
				return nil, 0, err
			}
			name := "count"
			if event.Counter != nil {
				name = *event.Counter
			}
			sums[counter{event.Key, name}] += event.Incr
		}
	}
	return sums, read, nil
}

// add writes the sums, several batches at a time.
func add(
	ctx context.Context, client *dynamodb.Client, table string, sums map[counter]int64,
) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	batch := make([]types.BatchStatementRequest, 0, batchSize)
	send := func() {
		full := batch
		batch = make([]types.BatchStatementRequest, 0, batchSize)
		group.Go(func() error { return execute(ctx, client, full) })
	}
	for counter, sum := range sums {
		statement := `UPDATE "` + table + `" SET "` + counter.name + `"="` + counter.name +
			`"+? WHERE "pk"=?`
		batch = append(batch, types.BatchStatementRequest{
			Statement: aws.String(statement),
			Parameters: []types.AttributeValue{
				&types.AttributeValueMemberN{Value: strconv.FormatInt(sum, 10)},
				&types.AttributeValueMemberS{Value: counter.key},
			},
		})
		if len(batch) == batchSize {
			send()
		}
	}
	if len(batch) > 0 {
		send()
	}
	return group.Wait()
}

// execute sends one batch. An answer of 200 says nothing yet: each statement has its own outcome.
func execute(
	ctx context.Context, client *dynamodb.Client, batch []types.BatchStatementRequest,
) error {
	answer, err := client.BatchExecuteStatement(
		ctx, &dynamodb.BatchExecuteStatementInput{Statements: batch},
	)
	if err != nil {
		return err
	}
	for _, response := range answer.Responses {
		if response.Error != nil {
			return fmt.Errorf("%s: %s", response.Error.Code, aws.ToString(response.Error.Message))
		}
	}
	return nil
}

func now() moment {
	var clock unix.Timespec
	var used unix.Rusage
	if err := errors.Join(
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock),
		unix.Getrusage(unix.RUSAGE_SELF, &used),
	); err != nil {
		panic(err) // neither can fail on the systems this builds for
	}
	cpu := used.Utime.Nano() + used.Stime.Nano()
	return moment{float64(clock.Nano()) / 1e9, float64(cpu) / 1e9}
}

// peakBytes is the largest resident memory so far. On Linux ru_maxrss begins with the parent's.
func peakBytes() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		var used unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
			panic(err)
		}
		if runtime.GOOS == "darwin" {
			return int64(used.Maxrss)
		}
		return int64(used.Maxrss) * 1024
	}
	for line := range strings.Lines(string(status)) {
		if kilobytes, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var n int64
			if _, err := fmt.Sscan(kilobytes, &n); err == nil {
				return n * 1024
			}
		}
	}
	return 0
}
