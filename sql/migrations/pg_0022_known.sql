-- depends: pg_0021_index_search
-- What is known before a search: shares by the statistics, and what calibrate measured.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._has_rival_index(
    model_id integer
)
    returns boolean
    language plpgsql
    stable
    set search_path from current
as $_has_rival_index$
-- Whether a second vector index of a model stands that PostgreSQL may take for the cheaper one, with probes or an ef_search that
-- are meant for the first: one that is built and has not its place yet, or was replaced and is not dropped. With the same probes
-- the one with more lists is cheaper, and gives less.
begin
    return exists (select 1
                   from _vector_index(model_id) v
                   cross join (values ('_new'), ('_old')) s (suffix)
                   cross join lateral _vector_index(model_id, s.suffix) r
                   where r.valid and r.half = v.half and (r.kind <> v.kind or r.lists > v.lists));
end;
$_has_rival_index$;
revoke all on function kompanion._has_rival_index(integer) from public;
comment on function kompanion._has_rival_index(integer) is 'Internal. Whether a second vector index stands that searches might go by instead.';

create function kompanion._known_share(
    plan kompanion._search_plan
)
    returns double precision
    language plpgsql
    immutable
    set search_path from current
as $_known_share$
-- The share of all rows that a search is about, as known from the calibration: of its namespaces, those that were large, and
-- of its tags, if they do not depend on each other. NULL where that tells nothing, as of a thread or a filter.
declare
    v_share double precision := 0;
    v_id    uuid;
    v_tag   text;
begin
    if plan.thread_ids is not null or plan.tags_any is not null or plan.tags_none is not null or plan.filter is not null
       or cardinality(plan.namespace_ids) > 20 then
        return null;
    elsif plan.namespace_ids is null then
        v_share := 1;
    else
        foreach v_id in array plan.namespace_ids loop
            v_share := v_share + coalesce((plan.knobs -> 'large' ->> v_id::text)::double precision, 0);
        end loop;
    end if;
    if plan.tags_all is not null then
        foreach v_tag in array plan.tags_all loop
            v_share := v_share * coalesce((plan.knobs -> 'common_tags' ->> v_tag)::double precision, 0);
        end loop;
    end if;
    return nullif(least(v_share, 1), 0);
end;
$_known_share$;
revoke all on function kompanion._known_share(kompanion._search_plan) from public;
comment on function kompanion._known_share(kompanion._search_plan) is 'Internal. The share of all rows that a search is about, as known from the calibration.';

create function kompanion._common_tags(
    more_than integer
)
    returns jsonb
    language plpgsql
    stable
    set search_path from current
as $_common_tags$
-- The tags on more items than that, each with the share of items it is on, by what ANALYZE last saw. NULL when that tells
-- nothing: it remembers a thousand tags, and where even the rarest of those is on more, so may be others. Nor under row
-- security, as every reader sees what is kept of a calibration.
begin
    return (
        select case when min(f.share) * c.reltuples <= more_than or count(*) < 100
               then coalesce(jsonb_object_agg(f.tag, f.share) filter (where f.share * c.reltuples > more_than), '{}') end
        from pg_stats s
        join pg_class c on c.oid = to_regclass('kompanion.memory_items')
        cross join unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) f (tag, share)
        where s.schemaname = 'kompanion' and s.tablename = 'memory_items' and s.attname = 'tags' and f.tag is not null and not c.relrowsecurity
        group by c.reltuples);
end;
$_common_tags$;
revoke all on function kompanion._common_tags(integer) from public;
comment on function kompanion._common_tags(integer) is 'Internal. The tags on more items than that, by the statistics.';

create function kompanion._difficulty(
    knobs jsonb,
    share double precision,
    tenth double precision,
    reach double precision
)
    returns integer
    language plpgsql
    immutable
    set search_path from current
as $_difficulty$
-- How difficult a query is, from 0 on, against those of the calibration, which part at the edges. All that it asks for lies no
-- further away than the last of so many matches in sight, its reach, whatever else lies between them: that tells best. Edges of
-- the two measured shares that are nearest, on a straight line in the logarithm. Where matches are so rare that a look around
-- mostly does not see enough of them, and so no edges are known, the tenth neighbour of all tells.
declare
    v_far    integer := 0;
    v_near   integer;
    v_from   jsonb;
    v_to     jsonb;
    v_weight double precision := 0;
    v_level  integer := 0;
begin
    while (knobs -> 'shares' ->> v_far)::double precision > share loop
        v_far := v_far + 1;
    end loop;
    v_near := greatest(v_far - 1, 0);
    v_from := nullif(knobs -> 'edges' -> v_near, 'null');
    v_to := nullif(knobs -> 'edges' -> v_far, 'null');
    if v_from is not null and v_to is not null and v_far > v_near then
        v_weight := ln((knobs -> 'shares' ->> v_near)::double precision / share)
                  / ln((knobs -> 'shares' ->> v_near)::double precision / (knobs -> 'shares' ->> v_far)::double precision);
    elsif v_to is null and (knobs -> 'shares' ->> v_near)::double precision <= 1.4 * share then
        v_to := v_from;  -- a little below, as in _choose_knob
    end if;
    if share is null or v_from is null or v_to is null then
        reach := tenth; v_from := knobs -> 'edges' -> 0; v_to := v_from; v_weight := 0;
    end if;
    while (v_from ->> v_level)::double precision * (1 - v_weight) + (v_to ->> v_level)::double precision * v_weight < coalesce(reach, 'infinity') loop
        v_level := v_level + 1;
    end loop;
    return v_level;
end;
$_difficulty$;
revoke all on function kompanion._difficulty(jsonb, double precision, double precision, double precision) from public;
comment on function kompanion._difficulty(jsonb, double precision, double precision, double precision) is
    'Internal. How difficult a query is among matches of this share, by how far those in sight reach.';

create function kompanion._choose_knob(
    knobs         jsonb,
    knob_table    real[],
    difficulty    integer,
    share         double precision,
    target_recall double precision,
    out knob         integer,
    out milliseconds double precision,
    out recall       double precision
)
    language plpgsql
    immutable
    set search_path from current
as $_choose_knob$
-- Probes or ef_search that reach the target for queries of this difficulty where the matches have this share, with cost and
-- recall as measured; between two measured shares on a straight line in the logarithms. Where nothing reaches it at the smaller
-- of them, what does at the larger one holds for a share a little below with as many more probes, which meet as many matches:
-- else a share of a tenth would be searched exactly as often as it is taken for a little less. NULL where no knob is known to.
declare
    v_levels constant integer := coalesce(jsonb_array_length(knobs -> 'edges' -> 0), 0) + 1;
    v_shares constant integer := jsonb_array_length(knobs -> 'shares');
    v_target integer := 0;
    v_far    integer := 0;
    v_near   integer;
    v_weight double precision := 0;
    v_more   double precision;
    v_cell   integer;
begin
    -- Loops over a few numbers, not queries over sets: starting a query costs more than they do.
    while (knobs -> 'targets' ->> v_target)::double precision < target_recall loop
        v_target := v_target + 1;
    end loop;
    while (knobs -> 'shares' ->> v_far)::double precision > share loop
        v_far := v_far + 1;
    end loop;
    v_near := greatest(v_far - 1, 0);
    v_cell := 3 * (v_target * v_levels + difficulty) * v_shares;
    if share is null then
        return;
    elsif v_far = v_shares or knob_table[v_cell + 3 * v_far + 1] is null then
        v_more := (knobs -> 'shares' ->> v_near)::double precision / share;
        v_cell := v_cell + 3 * v_near;
        if v_more between 1 and 1.4 and knob_table[v_cell + 1] is not null then
            knob := least(ceil(knob_table[v_cell + 1] * v_more), case knobs -> 'index' ->> 'kind' when 'hnsw' then 1000 else 32768 end);
            milliseconds := knob_table[v_cell + 2] * v_more;
            recall := knob_table[v_cell + 3];
        end if;
        return;
    end if;
    if v_far > v_near then
        v_weight := ln((knobs -> 'shares' ->> v_near)::double precision / share)
                  / ln((knobs -> 'shares' ->> v_near)::double precision / (knobs -> 'shares' ->> v_far)::double precision);
    end if;
    v_near := v_cell + 3 * v_near;
    v_far := v_cell + 3 * v_far;
    knob := ceil(knob_table[v_near + 1] ^ (1 - v_weight) * knob_table[v_far + 1] ^ v_weight);
    milliseconds := knob_table[v_near + 2] ^ (1 - v_weight) * knob_table[v_far + 2] ^ v_weight;  -- it grows as the knob does
    recall := least(knob_table[v_near + 3], knob_table[v_far + 3]);
end;
$_choose_knob$;
revoke all on function kompanion._choose_knob(jsonb, real[], integer, double precision, double precision) from public;
comment on function kompanion._choose_knob(jsonb, real[], integer, double precision, double precision) is
    'Internal. Probes or ef_search for a difficulty, share and target, from the calibration.';

create function kompanion._fits_half(
    query vector,
    dim   integer
)
    returns boolean
    language plpgsql
    immutable
    set search_path from current
as $_fits_half$
-- Whether half precision holds a query: 65504 is the largest it has, and what is much smaller than 6e-5 it rounds to nothing.
begin
    return vector_norm(query) between 1e-3 * sqrt(dim) and 65504;
end;
$_fits_half$;
revoke all on function kompanion._fits_half(vector, integer) from public;
comment on function kompanion._fits_half(vector, integer) is 'Internal. Whether a query keeps its direction in half precision.';

create function kompanion._knob_for_chunks(
    plan   kompanion._search_plan,
    query  vector,
    reach  double precision,
    chunks bigint
)
    returns integer
    language plpgsql
    immutable
    set search_path from current
as $_knob_for_chunks$
-- The knob of a search that took so many chunks, reaching so far, to see k items: what is asked for is as rare as one in so many,
-- and to be on the safe side, as others of these items lie further out, in twice as many. NULL where no knob is known to do.
declare
    v_length     constant double precision := case when plan.metric = 'inner_product' then nullif(vector_norm(query), 0) else 1 end;
    v_difficulty constant integer := _difficulty(plan.knobs, plan.density * 10 / chunks, plan.tenth, reach / v_length);
begin
    return (_choose_knob(plan.knobs, plan.knob_table, v_difficulty, plan.density * 10 / (2 * chunks), plan.target_recall)).knob;
end;
$_knob_for_chunks$;
revoke all on function kompanion._knob_for_chunks(kompanion._search_plan, vector, double precision, bigint) from public;
comment on function kompanion._knob_for_chunks(kompanion._search_plan, vector, double precision, bigint) is
    'Internal. Probes or ef_search for items of which several chunks lie near.';
