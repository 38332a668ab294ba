package verdict

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestConfig(t *testing.T) {
	for field, c := range map[string]Config{
		"":             {},
		"moreFailures": {MoreFailures: 0.95},
		"slowdown":     {Slowdown: 0.5},
		"slowdownBy":   {SlowdownBy: -1},
		"warmup":       {Warmup: api.Duration(2 * time.Hour)},
		"chance":       {Chance: math.NaN()},
	} {
		err := c.Validate()
		var e *api.Error
		if errors.As(err, &e) != (field != "") || e != nil && (e.Field != field || e.Value == "" || e.Expected == "") {
			t.Errorf("%+v: %v, want an error about %q", c, err, field)
		}
	}
	var c Config
	if err := json.Unmarshal([]byte(`{"slowdown": 3, "warmup": "1m"}`), &c); err != nil {
		t.Fatal(err)
	}
	if got := c.WithDefaults(); got.Slowdown != 3 || got.Warmup.Std() != time.Minute || got.MoreFailures != DefaultMoreFailures {
		t.Errorf("with defaults: %+v", got)
	}
}

// TestConfigCounts has the same release judged by other thresholds.
func TestConfigCounts(t *testing.T) {
	const ms = time.Millisecond
	judge := func(failed uint64, middle time.Duration, c Config) Verdict {
		return Judge(Input{Config: c, New: Side{Seconds: steady(start, 60, 50, failed, middle)}, Old: Side{Seconds: steady(start, 60, 50, 0, 20*ms)}})
	}
	for _, tt := range []struct {
		what   string
		failed uint64
		middle time.Duration
		config Config
		want   Result
	}{
		{"a tenth fails", 5, 20 * ms, Config{}, Fail},
		{"a tenth fails and may", 5, 20 * ms, Config{MoreFailures: 0.15}, Insufficient},
		{"four times slower", 0, 80 * ms, Config{}, Fail},
		{"four times slower and may be", 0, 80 * ms, Config{Slowdown: 5}, Pass},
		{"four times slower, by little", 0, 80 * ms, Config{SlowdownBy: api.Duration(time.Second)}, Pass},
		{"four times slower while it warms up", 0, 80 * ms, Config{Warmup: api.Duration(58 * time.Second)}, Insufficient},
	} {
		if v := judge(tt.failed, tt.middle, tt.config); v.Result != tt.want {
			t.Errorf("%s: %s: %s, want %s", tt.what, v.Result, v.Reason, tt.want)
		}
	}
	at := func(c Config) int64 { return judge(0, 80*ms, c).Numbers.At }
	if soon, late := at(Config{Warmup: -1}), at(Config{Warmup: api.Duration(20 * time.Second)}); soon >= start+5 || late < start+20 {
		t.Errorf("without time to warm up found out after %d s, with 20 s after %d s", soon-start, late-start)
	}
}

func TestSentences(t *testing.T) {
	for got, want := range map[string]string{
		percent(0): "0 %", percent(0.052): "5.2 %", percent(0.00034): "0.034 %", percent(0.999): "100 %", percent(0.0995): "10 %",
		count(0): "0", count(999): "999", count(1204): "1,204", count(1234567): "1,234,567",
		wait(api.Duration(1234 * time.Microsecond)): "1.2ms", wait(api.Duration(123456 * time.Microsecond)): "123ms", wait(0): "0s",
		wait(api.Duration(2345 * time.Millisecond)): "2.3s", (&Test{Capital: 12345}).chance(): "p < 1e-4",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	tail := steady(start, 60, 50, 0, 0)
	for i := range tail {
		tail[i].Latency = []Bucket{{api.Duration(20 * time.Millisecond), 40}, {api.Duration(time.Second), 10}}
	}
	v := Judge(Input{New: Side{Seconds: tail}, Old: Side{Release: 6, Seconds: steady(start-60, 120, 50, 0, 20*time.Millisecond)}})
	if want := "20 % of 200 requests waited longer than 122ms in the last 4s, 0 % of 200 of release 6 at the same time; p < 1e-4"; v.Reason != want {
		t.Errorf("%s: %s\n\twant %s", v.Cause, v.Reason, want)
	}
}
