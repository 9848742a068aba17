"""The C that every exported program shares; c99.py adds arrays and calls."""

HEAD = """\
/* An integer network
 *
 * Written by lifeq_jax; integers from the pixels to the classifier. C99, no library but the standard one.
 *
 *     cc -std=c99 -O2 -o model model.c && ./model {task}< pixels.raw
 *
 * reads images of {height} x {width} x {channels} bytes (rows, columns, channels; the size, orientation and color of
 * manifest.json) and writes for each a line of {outputs} logits. With -DLIFEQ_NO_MAIN it is a library of one function,
 * lifeq_logits, which needs LIFEQ_WORKSPACE bytes, aligned for int64_t. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIFEQ_IMAGE {image}
#define LIFEQ_LOGITS {outputs}
#define LIFEQ_TASKS {tasks}
#define LIFEQ_WORKSPACE {workspace}
"""

SHARED = """\

/* integer = factor * code + offset; codes of `bits` bits, the lowest bit first, ordered (rows, columns, in, out) */
struct kernel { const uint8_t *codes; int bits, factor; const int32_t *offset; int each; };

/* rows, columns, channels of input and output; taps, strides, padding before; groups */
struct shape { int h, w, c, oh, ow, oc, kh, kw, sh, sw, top, left, groups; };

/* clip(floor((floor(x / 2^pre) multiplier + bias) / 2^shift), low, high), `each`: 1 where every channel has its own */
struct line { const int32_t *multiplier; const int64_t *bias; const uint8_t *shift; int each, pre; int64_t low, high; };

static inline int64_t down(int64_t x, int bits) { return x >= 0 ? x >> bits : -((-x - 1) >> bits) - 1; }

static inline int64_t code_at(const struct line *l, int64_t x, int channel) {
    int i = channel * l->each;
    int64_t y = down(down(x, l->pre) * l->multiplier[i] + l->bias[i], l->shift[i]);
    return y < l->low ? l->low : y > l->high ? l->high : y;
}

static inline int32_t weight_at(const struct kernel *k, int32_t index, int output) {
    uint32_t bit = (uint32_t)index * (uint32_t)k->bits, code = 0;
    int i;
    for (i = 0; i < k->bits; i++, bit++) code |= (uint32_t)((k->codes[bit >> 3] >> (bit & 7)) & 1) << i;
    return k->factor * (int32_t)code + k->offset[output * k->each];
}
"""

CONV = """
static void {name}(const {x} *x, {y} *y, const struct kernel *k, const struct shape *s{line}, int32_t *row) {{
    int in = s->c / s->groups, out = s->oc / s->groups, taps = s->kh * s->kw, o, r, q, i, j, c;
    for (o = 0; o < s->oc; o++) {{
        const {x} *from = x + o / out * in;
        for (i = 0; i < taps * in; i++) row[i] = weight_at(k, i * s->oc + o, o);
        for (r = 0; r < s->oh; r++) for (q = 0; q < s->ow; q++) {{
            {acc} sum = 0;
            for (i = 0; i < s->kh; i++) {{
                int v = r * s->sh + i - s->top;
                if (v < 0 || v >= s->h) continue;
                for (j = 0; j < s->kw; j++) {{
                    int u = q * s->sw + j - s->left;
                    const {x} *pixel = from + (v * s->w + u) * s->c;
                    const int32_t *w = row + (i * s->kw + j) * in;
                    if (u < 0 || u >= s->w) continue;
                    for (c = 0; c < in; c++) sum += ({acc})pixel[c] * w[c];
                }}
            }}
            y[(r * s->ow + q) * s->oc + o] = ({y}){result};
        }}
    }}
}}
"""

REQUANTIZE = """
static void {name}(const {x} *x, {y} *y, int size, int channels, const struct line *l) {{
    int i;
    for (i = 0; i < size; i++) y[i] = ({y})code_at(l, x[i], i % channels);
}}
"""

STEPS = """
static void {name}(const {x} *x, {y} *y, int size, const int32_t *edges, int number, const int32_t *codes) {{
    int i;
    for (i = 0; i < size; i++) {{
        int low = 0, high = number;
        while (low < high) {{
            int middle = (low + high) / 2;
            if (edges[middle] <= x[i]) low = middle + 1; else high = middle;
        }}
        y[i] = ({y})codes[low];
    }}
}}
"""

POOL = """
static void {name}(const {x} *x, {y} *y, const struct shape *s) {{
    int r, q, i, j, c;
    for (r = 0; r < s->oh; r++) for (q = 0; q < s->ow; q++) for (c = 0; c < s->c; c++) {{
        {y} largest = 0;
        int any = 0;
        for (i = 0; i < s->kh; i++) for (j = 0; j < s->kw; j++) {{
            int v = r * s->sh + i - s->top, u = q * s->sw + j - s->left;
            if (v < 0 || v >= s->h || u < 0 || u >= s->w) continue;
            if (!any || x[(v * s->w + u) * s->c + c] > largest) largest = ({y})x[(v * s->w + u) * s->c + c];
            any = 1;
        }}
        y[(r * s->ow + q) * s->c + c] = largest;
    }}
}}
"""

MAIN = """
#ifndef LIFEQ_NO_MAIN
int main(int count, char **words) {
    static uint8_t image[LIFEQ_IMAGE];
    static float logits[LIFEQ_LOGITS];
    void *workspace = malloc(LIFEQ_WORKSPACE);
    int task = count > 1 ? atoi(words[1]) : 0, i;
    if (workspace == NULL || task < 0 || task >= LIFEQ_TASKS) return 2;
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        lifeq_logits(image, task, logits, workspace);
        for (i = 0; i < LIFEQ_LOGITS; i++) printf(i ? " %.9g" : "%.9g", logits[i]);
        printf("\\n");
    }
    free(workspace);
    return 0;
}
#endif
"""
