package policy

import (
	"strconv"
	"strings"
	"testing"

	"github.com/ikada/ikada/internal/proxy/http1"
)

func TestAcceptEncoding(t *testing.T) {
	for _, c := range []struct {
		fields string // separated by |
		want   string
	}{
		{"", ""},
		{"gzip", Gzip},
		{"x-gzip", Gzip},
		{"zstd", Zstd},
		{"gzip, deflate, br, zstd", Zstd}, // what browsers send
		{"gzip, deflate, br", Gzip},
		{"GZip", Gzip},
		{"gzip|zstd", Zstd},
		{"deflate, br", ""},
		{"compress, gzip", Gzip},

		{"gzip;q=1.0, zstd;q=0.5", Gzip},
		{"gzip;q=0.5, zstd;q=0.501", Zstd},
		{"gzip ; q=0.5 ,\tzstd ; Q=0.6", Zstd},
		{"gzip;q=0", ""},
		{"gzip;q=0.000", ""},
		{"gzip;q=0, zstd;q=0.001", Zstd},
		{"gzip;q=0, *", ""},
		{"zstd;q=0, *", Gzip},
		{"*", Gzip}, // it may come from before zstd
		{"*;q=0", ""},
		{"*;q=0.1, zstd;q=0.05", Gzip},

		{"identity", ""},
		{"identity, gzip", Gzip},
		{"identity;q=0.5, gzip", Gzip},
		{"identity, gzip;q=0.5", ""},
		{"identity;q=0, gzip;q=0.5", Gzip},
		{"identity;q=0", ""},

		// What is malformed says nothing, the rest of the list stays.
		{"gzip;q=2", ""},
		{"gzip;q=-1", ""},
		{"gzip;q=1.001", ""},
		{"gzip;q=0.1234", ""},
		{"gzip;q=.5", ""},
		{"gzip;q=", ""},
		{"gzip;q", ""},
		{"gzip;level=5", ""},
		{"gzip q=1, zstd", Zstd},
		{",,;, gzip,", Gzip},
		{"gzipped", ""},
		{"gzip;q=1.", Gzip},
	} {
		var fields []string
		if c.fields != "" {
			for value := range strings.SplitSeq(c.fields, "|") {
				fields = append(fields, "Accept-Encoding: "+value)
			}
		}
		if got := acceptedBy(request(t, "GET /", fields...).Fields).best(); got != c.want {
			t.Errorf("%q: %q, want %q", c.fields, got, c.want)
		}
	}
}

// FuzzAcceptEncoding holds what is read of a list against a plain reading of the grammar.
func FuzzAcceptEncoding(f *testing.F) {
	for _, s := range []string{"gzip, deflate, br, zstd", "gzip;q=0.5,zstd;q=1.000", "*;q=0, identity", "gzip ;\tq=0", ",;=,gzip;;q=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got := acceptedBy([]http1.Field{{Kind: http1.AcceptEncoding, Value: []byte(list)}})
		want := map[string]int{}
		for item := range strings.SplitSeq(list, ",") {
			name, parameter, _ := strings.Cut(item, ";")
			name, q := strings.ToLower(strings.Trim(name, " \t")), 1000
			if name == "x-gzip" {
				name = Gzip
			}
			if parameter = strings.Trim(parameter, " \t"); parameter != "" {
				number, isWeight := strings.CutPrefix(strings.ToLower(parameter), "q=")
				x, err := strconv.ParseFloat(number, 64)
				if !isWeight || err != nil || x < 0 || x > 1 || len(number) > 5 || strings.Trim(number, "0123456789.") != "" ||
					strings.HasPrefix(number, ".") || strings.HasPrefix(number, "00") || strings.HasPrefix(number, "01") {
					continue
				}
				q = int(x*1000 + 0.5)
			}
			if old, ok := want[name]; !ok || q > old {
				want[name] = q
			}
		}
		for name, q := range map[string]int{Gzip: got.gzip, Zstd: got.zstd, "identity": got.identity, "*": got.other} {
			if w, ok := want[name]; ok && w != q || !ok && q != unsaid {
				t.Fatalf("%q: %s is %d, want %d", list, name, q, w)
			}
		}
		if c := got.best(); c == Gzip && max(got.gzip, got.other) <= 0 || c == Zstd && got.zstd <= 0 {
			t.Fatalf("%q gives %q", list, c)
		}
	})
}

func BenchmarkAcceptEncoding(b *testing.B) {
	fields := request(b, "GET /", "Host: a", "Accept: */*", "Accept-Encoding: gzip, deflate, br, zstd").Fields
	b.ReportAllocs()
	for b.Loop() {
		if acceptedBy(fields).best() != Zstd {
			b.Fatal("zstd is not chosen")
		}
	}
}
