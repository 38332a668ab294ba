package shimlog

import (
	"bytes"
	"errors"
	"time"
)

// The names of the streams.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// MaxText is the most bytes of output in one record; longer lines are split.
const MaxText = 16 << 10

// Record is one line of output.
type Record struct {
	Time    time.Time
	Stream  string
	Text    string // without its newline
	Partial bool   // it had no newline: the line goes on in the next record of the stream, if there is one
}

var errRecord = errors.New("not a log record")

// appendRecord appends the record's line to b. text must not contain a newline.
func appendRecord(b []byte, at time.Time, stream string, text []byte, partial bool) []byte {
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, ' ')
	b = append(b, stream...)
	if partial {
		b = append(b, " P "...)
	} else {
		b = append(b, " F "...)
	}
	b = append(b, text...)
	return append(b, '\n')
}

// parseTime reads only the time of a record's line.
func parseTime(line []byte) (time.Time, error) {
	at, _, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return time.Time{}, errRecord
	}
	return time.Parse(time.RFC3339Nano, string(at))
}

// parseRecord reads a record's line, without its newline.
func parseRecord(line []byte) (Record, error) {
	at, err := parseTime(line)
	if err != nil {
		return Record{}, err
	}
	_, rest, _ := bytes.Cut(line, []byte{' '})
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(rest) < 2 || rest[1] != ' ' {
		return Record{}, errRecord
	}
	r := Record{Time: at, Partial: rest[0] == 'P', Text: string(rest[2:])}
	switch string(stream) {
	case Stdout:
		r.Stream = Stdout
	case Stderr:
		r.Stream = Stderr
	default:
		return Record{}, errRecord
	}
	return r, nil
}
