package verdict

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// steady gives seconds that are all alike; waits are half of it and twice it around a middle.
func steady(from, seconds int64, requests, failed uint64, middle time.Duration) []Second {
	var all []Second
	for i := range seconds {
		s := Second{Time: from + i, Requests: requests, Failed: failed}
		if middle > 0 && requests > 0 {
			third := requests / 3
			s.Latency = []Bucket{{api.Duration(middle / 2), third}, {api.Duration(middle), requests - 2*third}, {api.Duration(2 * middle), third}}
		}
		all = append(all, s)
	}
	return all
}

const start = 1_700_000_000 // when new releases begin to serve in tests

func TestJudge(t *testing.T) {
	const ms = time.Millisecond
	good := func(n int64) []Second { return steady(start, n, 50, 0, 20*ms) }
	history := steady(start-60, 60, 50, 0, 20*ms)
	with := func(a, b []Second) []Second { return append(append([]Second{}, a...), b...) }
	tests := map[string]struct {
		in   Input
		want Result
		why  string // in the reason
	}{
		"nothing at all":             {Input{}, Insufficient, "no requests"},
		"no traffic for ten minutes": {Input{New: Side{Release: 7}, From: start, Now: start + 600}, Insufficient, "unverified: release 7 had no requests in 10m0s"},
		"only new":                   {Input{New: Side{Seconds: good(60)}}, Insufficient, "none to compare with"},
		"only new, which fails":      {Input{New: Side{Seconds: steady(start, 60, 50, 50, 20*ms)}}, Insufficient, "100 % of 3,000 requests failed"},
		"only old":                   {Input{Old: Side{Seconds: with(history, good(60))}, From: start}, Insufficient, "no requests in 1m0s"},
		"one request":                {Input{New: Side{Seconds: steady(start, 1, 1, 0, ms)}, Old: Side{Seconds: history}}, Insufficient, "0 of 1 requests failed in 1s, 0 of 3,000"},
		"one failed request":         {Input{New: Side{Seconds: steady(start, 1, 1, 1, ms)}, Old: Side{Seconds: history}}, Insufficient, "1 of 1 requests failed"},
		"equal":                      {Input{New: Side{Seconds: good(60)}, Old: Side{Seconds: with(history, good(60))}}, Pass, "0 % of 3,000 requests failed"},
		"equal, without history":     {Input{New: Side{Seconds: good(60)}, Old: Side{Seconds: good(60)}}, Pass, "at the same time"},
		"equal, after a swap":        {Input{New: Side{Seconds: good(60)}, Old: Side{Seconds: history}, Until: start - 1}, Pass, "before"},
		"equal, without latency": {Input{New: Side{Seconds: steady(start, 60, 50, 0, 0)}, Old: Side{Seconds: steady(start, 60, 50, 0, 0)}},
			Pass, "0 % of 3,000 requests failed"},
		"all failed on both": {Input{New: Side{Seconds: steady(start, 60, 50, 50, 20*ms)}, Old: Side{Seconds: steady(start, 60, 50, 50, 20*ms)}},
			Pass, "100 % of 3,000"},
		"all failed on both, after a swap": {Input{New: Side{Seconds: steady(start, 60, 50, 50, 20*ms)}, Old: Side{Seconds: steady(start-60, 60, 50, 50, 20*ms)}, Until: start - 1},
			Insufficient, ""},
		"a fix": {Input{New: Side{Seconds: good(60)}, Old: Side{Seconds: with(steady(start-60, 60, 50, 20, 80*ms), steady(start, 60, 50, 20, 80*ms))}},
			Pass, "40 % of 3,000"},
		"all fail": {Input{New: Side{Release: 7, Seconds: steady(start, 2, 50, 50, 20*ms)}, Old: Side{Release: 6, Seconds: with(history, good(2))}},
			Fail, "100 % of 100 requests failed, 0 % of 100 of release 6 at the same time; p < 1e-"},
		"all are lost, and answered by the old one": {Input{New: Side{Release: 7, Seconds: []Second{{Time: start, Lost: 3}, {Time: start + 5, Lost: 3}}},
			Old: Side{Release: 6, Seconds: with(history, good(6))}}, Fail, "100 % of 6 requests failed (6 of them tried again elsewhere), 0 % of"},
		"one is lost": {Input{New: Side{Seconds: with([]Second{{Time: start, Requests: 50, Lost: 1}}, steady(start+1, 60, 50, 0, 0))}, Old: Side{Seconds: with(history, good(61))}}, Pass, ""},
		"as many are lost as before": {Input{New: Side{Seconds: []Second{{Time: start, Lost: 3}, {Time: start + 5, Lost: 3}}},
			Old: Side{Seconds: []Second{{Time: start, Lost: 9}, {Time: start + 5, Lost: 9}}}}, Insufficient, ""},
		"all fail after a swap": {Input{New: Side{Seconds: steady(start, 2, 50, 50, 20*ms)}, Old: Side{Release: 6, Seconds: history}, Until: start - 1},
			Fail, "100 % of 100 requests failed, 0 % of 3,000 of release 6 before; p < 1e-"},
		"slow": {Input{New: Side{Seconds: steady(start, 10, 50, 0, 80*ms)}, Old: Side{Release: 6, Seconds: with(history, good(10))}},
			Fail, "4.0 times as long"},
		"slow after a swap": {Input{New: Side{Seconds: steady(start, 10, 50, 0, 80*ms)}, Old: Side{Release: 6, Seconds: history}, Until: start - 1},
			Fail, "of release 6 before"},
		"a tenth slower": {Input{New: Side{Seconds: steady(start, 600, 5000, 0, 22*ms)}, Old: Side{Seconds: steady(start, 600, 5000, 0, 20*ms)}},
			Pass, ""},
		"slow by microseconds": {Input{New: Side{Seconds: steady(start, 600, 5000, 0, 600*time.Microsecond)}, Old: Side{Seconds: steady(start, 600, 5000, 0, 100*time.Microsecond)}},
			Pass, ""},
		"slow while it warms up": {Input{New: Side{Seconds: with(steady(start, 3, 50, 0, time.Second), steady(start+3, 60, 50, 0, 20*ms))}, Old: Side{Seconds: with(history, good(63))}},
			Pass, ""},
		"one bad second":                     {Input{New: Side{Seconds: with(steady(start, 1, 5000, 5000, 0), steady(start+1, 200, 50, 0, 0))}, Old: Side{Seconds: with(history, good(201))}}, Pass, ""},
		"bad after a minute":                 {Input{New: Side{Seconds: with(good(60), steady(start+60, 8, 50, 30, 20*ms))}, Old: Side{Seconds: with(history, good(68))}}, Fail, "requests failed in the last "},
		"killed for memory":                  {Input{New: Side{Release: 7, Faults: Faults{OOMKills: 1}}, Old: Side{Release: 6}}, Fail, "tasks of release 7 were killed for memory once, those of release 6 never"},
		"killed for memory, as ever":         {Input{New: Side{Faults: Faults{OOMKills: 2}}, Old: Side{Release: 6, Faults: Faults{OOMKills: 2}}}, Insufficient, ""},
		"never ready":                        {Input{New: Side{Faults: Faults{Unready: 1}}, Old: Side{Release: 6}}, Fail, "ended before they were ready once"},
		"never ready, and the first release": {Input{New: Side{Release: 1, Faults: Faults{Unready: 4}}}, Insufficient, "release 1 had no requests"},
		"crashed once":                       {Input{New: Side{Faults: Faults{Crashes: 1}}, Old: Side{Release: 6}}, Insufficient, ""},
		"crashed twice":                      {Input{New: Side{Faults: Faults{Crashes: 2}}, Old: Side{Release: 6}}, Fail, "crashed twice"},
		"crashes, as rarely":                 {Input{New: Side{Faults: Faults{Crashes: 2, Exposure: 600}}, Old: Side{Release: 6, Faults: Faults{Crashes: 3, Exposure: 1200}}}, Insufficient, ""},
		"crashes, far more often":            {Input{New: Side{Faults: Faults{Crashes: 3, Exposure: 60}}, Old: Side{Release: 6, Faults: Faults{Crashes: 2, Exposure: 86400}}}, Fail, "crashed 3 times"},
		"probes pass":                        {Input{New: Side{Probes: Probes{Passed: 10}}, Old: Side{Probes: Probes{Passed: 60}}}, Pass, "0 of 10 probes"},
		"too few probes":                     {Input{New: Side{Probes: Probes{Passed: 9}}, Old: Side{Probes: Probes{Passed: 60}}}, Insufficient, ""},
		"probes fail":                        {Input{New: Side{Probes: Probes{Failed: 10}}, Old: Side{Probes: Probes{Passed: 60}}}, Fail, "10 of 10 probes of the health path failed, 0 of 60"},
		"probes fail, as ever":               {Input{New: Side{Probes: Probes{Failed: 50}}, Old: Side{Probes: Probes{Failed: 60}}}, Insufficient, ""},
		"more failed than requests":          {Input{New: Side{Seconds: steady(start, 60, 50, 90, 0)}, Old: Side{Seconds: steady(start, 60, 50, 90, 0)}}, Pass, ""},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			if tt.in.From == 0 {
				tt.in.From = start
			}
			v := Judge(tt.in)
			if v.Result != tt.want || !strings.Contains(v.Reason, tt.why) {
				t.Errorf("%s: %s\n\twant %s: … %s …", v.Result, v.Reason, tt.want, tt.why)
			}
			if _, err := json.Marshal(v); err != nil { // NaN and infinity cannot be written
				t.Error(err)
			}
			if (v.Cause != "") != (v.Result == Fail) || v.Reason == "" {
				t.Errorf("result %s, cause %q, reason %q", v.Result, v.Cause, v.Reason)
			}
		})
	}
}
