package ratify

import "testing"

func BenchmarkParseKey(b *testing.B) {
	for name, key := range map[string]string{
		"tag":    "registry.example/team/app:v1.2.3",
		"digest": "registry.example/team/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"short":  "nginx",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseKey(key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
