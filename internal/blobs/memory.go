package blobs

import (
	"container/list"
	"sync"
	"time"
)

// entryOverhead is what an entry costs beside its bytes: the record, the list's element, the map's slot; measured with
// 100,000 entries, rounded up.
const entryOverhead = 224

// memory is the level in memory: the entry that was not asked for the longest goes first.
type memory struct {
	bound, largest int64

	mu     sync.Mutex
	recent *list.List // of *entry, the last one asked for in front
	byKey  map[Key]*list.Element
	bytes  int64
}

// An entry's data does not change, and is not handed out.
type entry struct {
	key  Key
	data []byte
	// offered is when it was last given to the disk, in seconds.
	offered int64
}

func (e *entry) cost() int64 { return int64(cap(e.data)) + entryOverhead }

func newMemory(bound int64) *memory {
	return &memory{bound: bound, largest: bound / maxShare, recent: list.New(), byKey: map[Key]*list.Element{}}
}

// wants tells whether content of that size is held at all.
func (m *memory) wants(size int) bool { return int64(size)+entryOverhead <= m.largest }

// get returns what is held, or nil. It is stale where its file was not touched for long: the one who asks sees to that.
func (m *memory) get(key Key, now time.Time) (data []byte, stale bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.byKey[key]
	if !ok {
		return nil, false
	}
	m.recent.MoveToFront(found)
	e := found.Value.(*entry)
	if now.Unix()-e.offered >= int64(touchAfter/time.Second) {
		e.offered, stale = now.Unix(), true
	}
	return e.data, stale
}

// put holds data, which is not changed any more by anybody.
func (m *memory) put(key Key, data []byte, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.byKey[key]; ok {
		return // two have read it at the same time
	}
	e := &entry{key: key, data: data, offered: now.Unix()}
	for m.bytes+e.cost() > m.bound {
		last := m.recent.Back()
		if last == nil {
			return
		}
		gone := m.recent.Remove(last).(*entry)
		delete(m.byKey, gone.key)
		m.bytes -= gone.cost()
	}
	m.byKey[key] = m.recent.PushFront(e)
	m.bytes += e.cost()
}

func (m *memory) held() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}
