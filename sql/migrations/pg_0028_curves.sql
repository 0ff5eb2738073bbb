-- depends: pg_0027_calibration
-- The curves that a calibration measured, and the table of knobs that search reads.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._calibration_curve(
    state      jsonb,
    share      integer,
    difficulty integer default null
)
    returns table (knob integer, recall double precision, milliseconds double precision, runs bigint)
    language plpgsql
    immutable
    set search_path from current
as $_calibration_curve$
-- One measured curve: recall never falls as the knob grows. A difficulty that too few queries had borrows those of all;
-- so does time, which does not depend on it. Settings no query needed any more cost in proportion to the last that was timed.
begin
    return query
    with cell as (
        select c.d, l.knob, (state #>> array['runs', c.i::text])::bigint as runs, (state #>> array['hits', c.i::text])::double precision as hits,
               (state #>> array['ms', c.i::text])::double precision as ms, (state #>> array['timed', c.i::text])::bigint as timed
        from jsonb_array_elements_text(state -> 'ladder') with ordinality l0 (knob, j)
        cross join lateral (select l0.knob::integer as knob) l
        cross join lateral (
            select d, ((p * (jsonb_array_length(state -> 'edges' -> 0) + 1) + d) * jsonb_array_length(state -> 'shares') + share)
                      * jsonb_array_length(state -> 'ladder') + l0.j - 1 as i
            from generate_series(0, jsonb_array_length(state -> 'edges' -> 0)) d cross join generate_series(0, 1) p) c
    ), own as (
        select bool_and(x.n >= 8) as enough
        from (select sum(c.runs) as n from cell c where c.d = _calibration_curve.difficulty group by c.knob) x
    ), pooled as (
        select c.knob, sum(c.ms) / nullif(sum(c.timed), 0) as ms,
               sum(c.hits) filter (where not o.enough or c.d = coalesce(_calibration_curve.difficulty, c.d)) as hits,
               sum(c.runs) filter (where not o.enough or c.d = coalesce(_calibration_curve.difficulty, c.d)) as runs
        from cell c cross join (select coalesce(w.enough, true) as enough from own w) o
        group by c.knob
    ), known as (
        select p.*, max(p.knob) filter (where p.ms is not null) over () as last_timed from pooled p where p.runs > 0
    )
    select k.knob, max(k.hits / k.runs) over (order by k.knob),
           coalesce(k.ms, (select t.ms from known t where t.knob = k.last_timed) * k.knob / k.last_timed), k.runs::bigint
    from known k
    order by k.knob;
end;
$_calibration_curve$;
revoke all on function kompanion._calibration_curve(jsonb, integer, integer) from public;
comment on function kompanion._calibration_curve(jsonb, integer, integer) is 'Internal. One measured curve of recall and time.';

create function kompanion._reach(
    ladder  integer[],
    recalls double precision[],
    aim     double precision
)
    returns double precision
    language plpgsql
    immutable
    set search_path from current
as $_reach$
-- Where on a ladder a measured curve reaches a recall with a whole knob: 2.25 is a quarter of the way from the second step to
-- the third, recall on a straight line, knobs in their logarithms. NULL: nowhere.
declare
    v_weight double precision;
begin
    for j in 1 .. cardinality(ladder) loop
        if recalls[j] >= aim and j = 1 then
            return 1;
        elsif recalls[j] >= aim then
            v_weight := (aim - recalls[j - 1]) / (recalls[j] - recalls[j - 1]);
            -- Rounded first: what is a whole knob but for the last digits is not to become the next one.
            return j - 1 + ln(ceil(round((ladder[j - 1] ^ (1 - v_weight) * ladder[j] ^ v_weight)::numeric, 6))::double precision / ladder[j - 1])
                         / ln(ladder[j]::double precision / ladder[j - 1]);
        end if;
    end loop;
    return null;
end;
$_reach$;
revoke all on function kompanion._reach(integer[], double precision[], double precision) from public;
comment on function kompanion._reach(integer[], double precision[], double precision) is 'Internal. Where on a ladder a measured curve reaches a recall.';

create function kompanion._never_rising(
    recalls double precision[],
    weights double precision[]
)
    returns double precision[]
    language plpgsql
    immutable
    set search_path from current
as $_never_rising$
-- The curves of the difficulties, one after the other in recalls, brought into order: at no setting do more difficult queries
-- have the better recall. Where they seem to, few queries made it look so, and neighbours share what they have, by weight:
-- the nearest curves that never rise, by the min-max formula of isotonic regression (Barlow et al. 1972, 1.9).
begin
    return (
        with cell as (
            select d, j, recalls[(d - 1) * cardinality(recalls) / cardinality(weights) + j] as recall, greatest(weights[d], 1) as weight
            from generate_subscripts(weights, 1) d cross join generate_series(1, cardinality(recalls) / cardinality(weights)) j
        ), span as (
            select a as first, b as last, c.j, sum(c.recall * c.weight) / sum(c.weight) as mean
            from generate_subscripts(weights, 1) a
            join generate_subscripts(weights, 1) b on b >= a
            join cell c on c.d between a and b
            group by 1, 2, 3
        ), highest as (
            select d, s.j, max(s.mean) as mean
            from generate_subscripts(weights, 1) d
            join span s on d between s.first and s.last
            group by d, s.j, s.first
        )
        select array_agg(m.mean order by m.d, m.j) from (select h.d, h.j, min(h.mean) as mean from highest h group by 1, 2) m);
end;
$_never_rising$;
revoke all on function kompanion._never_rising(double precision[], double precision[]) from public;
comment on function kompanion._never_rising(double precision[], double precision[]) is 'Internal. Curves of recall brought into the order of the difficulties.';

create function kompanion._large_namespaces(
    more_than integer,
    out large     jsonb,
    out large_complete boolean
)
    language plpgsql
    stable
    set search_path from current
as $_large_namespaces$
-- The largest namespaces, at most 20, that hold more vectors, by what ANALYZE last saw, each with its share of all; and whether
-- those are all: it remembers the most common, and where the last is not large, those it does not remember are not either.
-- None under row security, as every reader sees what is kept of a calibration.
declare
    c_most constant integer := 20;
begin
    select coalesce(jsonb_object_agg(f.id, f.share) filter (where f.n <= c_most and f.share * c.reltuples > more_than), '{}'),
           coalesce(count(*) filter (where f.share * c.reltuples > more_than) <= c_most
                    and (count(*) = max(s.n_distinct) or min(f.share) * max(c.reltuples) <= more_than), false)
    into large, large_complete
    from pg_stats s
    join pg_class c on c.oid = to_regclass('kompanion.embeddings')
    cross join unnest(s.most_common_vals::text::text[], s.most_common_freqs) with ordinality f (id, share, n)
    where s.schemaname = 'kompanion' and s.tablename = 'embeddings' and s.attname = 'namespace_id' and not c.relrowsecurity;
end;
$_large_namespaces$;
revoke all on function kompanion._large_namespaces(integer) from public;
comment on function kompanion._large_namespaces(integer) is 'Internal. Namespaces with many vectors, by the statistics.';

create function kompanion._knobs_from(
    state jsonb,
    out knobs      jsonb,
    out knob_table real[]
)
    language plpgsql
    stable
    set search_path from current
as $_knobs_from$
-- What search reads: for each target, difficulty and share the knob that reaches it, with milliseconds and recall. In each
-- difficulty it aims beyond the target, as far as it takes until the mean over all queries, of the stored vectors and of the
-- mixed ones alike, reaches the target with a confidence of 99 %: what a sample shows on the average, one store in two falls
-- short of; with 95 %, one in eight did whose questions are a little harder than what it stores (10,000 passages, MiniLM).
declare
    c_targets constant double precision[] := array[0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];
    v_ladder  constant integer[] := array(select e::integer from jsonb_array_elements_text(state -> 'ladder') e);
    v_runs    constant double precision[] := array(select e::double precision from jsonb_array_elements_text(state -> 'runs') e);
    v_hits    constant double precision[] := array(select e::double precision from jsonb_array_elements_text(state -> 'hits') e);
    v_squares constant double precision[] := array(select e::double precision from jsonb_array_elements_text(state -> 'squares') e);
    v_steps   constant integer := cardinality(v_ladder);
    v_shares  constant integer := jsonb_array_length(state -> 'shares');
    v_levels  constant integer := jsonb_array_length(state -> 'edges' -> 0) + 1;
    v_exact   constant integer := round(5000 * (state ->> 'look_ms')::double precision / (state ->> 'row_us')::double precision);
    v_recalls double precision[];
    v_weights double precision[];
    v_ms      double precision[];
    v_at      double precision[];  -- by difficulty, where on the ladder: 2.25 is a quarter of the way from the second to the third
    v_n       double precision;
    v_mean    double precision;
    v_spread  double precision;
    v_weight  double precision;
    v_met     boolean;
    v_cell    integer;
    i         integer;
    j         integer;
begin
    knob_table := array_fill(null::real, array[cardinality(c_targets) * v_levels * v_shares * 3]);
    for s in 0 .. v_shares - 1 loop
        v_recalls := '{}'; v_weights := '{}'; v_ms := '{}';
        for d in 0 .. v_levels - 1 loop
            select v_recalls || array_agg(c.recall order by c.knob), v_ms || array_agg(c.milliseconds order by c.knob) into v_recalls, v_ms
            from _calibration_curve(state, s, d) c;
            v_weights := v_weights || v_runs[(d * v_shares + s) * v_steps + 1] + v_runs[((v_levels + d) * v_shares + s) * v_steps + 1];
        end loop;
        continue when cardinality(v_recalls) < v_levels * v_steps;  -- no query was asked at this share yet
        v_recalls := _never_rising(v_recalls, v_weights);
        for t in 1 .. cardinality(c_targets) loop
            for fortieths in 0 .. 40 loop
                for d in 0 .. v_levels - 1 loop
                    v_at[d] := _reach(v_ladder, v_recalls[d * v_steps + 1 : (d + 1) * v_steps], least(1, c_targets[t] + fortieths * (1 - c_targets[t]) / 40));
                end loop;
                v_met := true;
                for population in 0 .. 1 loop
                    v_n := 0; v_mean := 0; v_spread := 0;
                    for d in 0 .. v_levels - 1 loop
                        j := coalesce(floor(v_at[d]), 1);
                        i := ((population * v_levels + d) * v_shares + s) * v_steps + j;
                        v_weight := v_at[d] - j;
                        v_n := v_n + v_runs[i];
                        -- Without a setting that reaches the aim they are searched exactly, and all is found.
                        v_mean := v_mean + coalesce(v_hits[i] * (1 - v_weight) + coalesce(v_hits[i + 1], 0) * v_weight, v_runs[i]);
                        v_spread := v_spread + coalesce(v_squares[i] * (1 - v_weight) + coalesce(v_squares[i + 1], 0) * v_weight, v_runs[i]);
                    end loop;
                    continue when v_n = 0;
                    v_mean := v_mean / v_n;
                    -- No less than if each of ten neighbours were missed for itself, which is when few queries happened to miss any.
                    v_spread := sqrt(greatest(v_spread / v_n - v_mean ^ 2, c_targets[t] * (1 - c_targets[t]) / 10) / v_n);
                    -- 2.33: 99 % of a normal distribution. 0.99: that most queries miss nothing and few miss much, taken as half of what
                    -- they ask for, makes the mean of a sample flatter; the correction of Johnson (1978), (1 + 2 * 2.33 ^ 2) / 6 of that.
                    -- At most six tenths of the way to 1, or few queries could never be sure; and always a fifth, as no sample of what is
                    -- stored is just like what users ask: without it the passages' questions had 0.893, 0.943 and 0.988 of 0.90, 0.95 and 0.99
                    -- in the worst of six calibrations of 2,000 queries, with it 0.910, 0.954 and 0.991.
                    v_met := v_met and v_mean >= c_targets[t] + least(2.33 * v_spread + 0.99 / v_n + 0.2 * (1 - c_targets[t]), 0.6 * (1 - c_targets[t]));
                end loop;
                exit when v_met;
            end loop;
            for d in 0 .. v_levels - 1 loop
                continue when v_at[d] is null;
                j := floor(v_at[d]);
                v_weight := v_at[d] - j;
                i := d * v_steps + j;
                v_cell := 3 * (((t - 1) * v_levels + d) * v_shares + s);
                knob_table[v_cell + 1] := round(v_ladder[j] ^ (1 - v_weight) * coalesce(v_ladder[j + 1], 1) ^ v_weight);
                knob_table[v_cell + 2] := v_ms[i] * (1 - v_weight) + coalesce(v_ms[i + 1], 0) * v_weight;
                knob_table[v_cell + 3] := v_recalls[i] * (1 - v_weight) + coalesce(v_recalls[i + 1], 0) * v_weight;
            end loop;
        end loop;
    end loop;
    knobs := jsonb_build_object(
        'index', state -> 'index', 'look', state -> 'look', 'look_rows', state -> 'look_rows', 'repeats', state -> 'repeats', 'edges', state -> 'edges', 'shares', state -> 'shares', 'targets', to_jsonb(c_targets),
        'rows', state -> 'rows', 'row_us', state -> 'row_us', 'item_us', state -> 'item_us',
        'common_tags', _common_tags((state ->> 'rare_items')::integer), 'rare_items', state -> 'rare_items',
        -- As many rows as five looks around cost: with fewer, a look would cost a scope whose neighbours lie elsewhere more than it
        -- saves one that holds them.
        'exact_rows', v_exact) || (select jsonb_build_object('large', n.large, 'large_complete', n.large_complete) from _large_namespaces(v_exact) n);
end;
$_knobs_from$;
revoke all on function kompanion._knobs_from(jsonb) from public;
comment on function kompanion._knobs_from(jsonb) is 'Internal. What search reads, from what calibrate measured.';
