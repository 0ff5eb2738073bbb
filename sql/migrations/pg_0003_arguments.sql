-- depends: pg_0002_paths
-- The rules for arguments, each in one place: tags, names, expiry, metadata, content.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion._normalize_tags(
    tags  text[],
    place text default ''
)
    returns text[]
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_normalize_tags$
-- Tags are a set: sorted by code point, each once; NULL is the empty set.
declare
    v_tags text[];
    v_bad  boolean;
begin
    if tags is null or tags = '{}' then
        return '{}';
    end if;
    select array_agg(distinct t.tag order by t.tag), bool_or(t.tag is null or length(t.tag) not between 1 and 128)
    into v_tags, v_bad
    from (select u collate "C" as tag from unnest(tags) u) t;
    if v_bad or cardinality(v_tags) > 64 then
        raise exception using
            errcode = 'KM007',
            message = place || 'tags: a tag is null, empty or longer than 128 characters, or there are more than 64',
            hint    = 'Give at most 64 tags of 1 to 128 characters.';
    end if;
    return v_tags;
end;
$_normalize_tags$;
revoke all on function kompanion._normalize_tags(text[], text) from public;
comment on function kompanion._normalize_tags(text[], text) is
    'Internal. Tags as a sorted set; KM007 for a null, empty or over-long tag.';

create function kompanion._check_name(
    argument text,
    value    text
)
    returns void
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_check_name$
-- Refuses a key or name that is null, empty or longer than 512 characters (a b-tree entry must stay under 2,700 bytes).
begin
    if value is null or value = '' or length(value) > 512 then
        raise exception using
            errcode = 'KM007',
            message = format('%s: %s', argument, case when value is null then 'is null' when value = '' then 'is empty'
                             else format('has %s characters, at most 512 are allowed', length(value)) end),
            hint    = format('Give %s 1 to 512 characters.', argument);
    end if;
end;
$_check_name$;
revoke all on function kompanion._check_name(text, text) from public;
comment on function kompanion._check_name(text, text) is
    'Internal. KM007 unless a key or name has 1 to 512 characters.';

create function kompanion._check_moment(
    argument text,
    value    timestamptz
)
    returns void
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_check_moment$
-- Refuses infinity and what is before year 1 or after 9999: clients cannot read it, and no order of pages can hold it.
begin
    if value < timestamptz '0001-01-03 00:00:00+00' or value > timestamptz '9999-12-29 00:00:00+00' then
        raise exception using
            errcode = 'KM007',
            message = format('%s: is not between the years 1 and 9999: %s', argument, value),
            hint    = format('Give a moment in that range, or leave %s out.', argument);
    end if;
end;
$_check_moment$;
revoke all on function kompanion._check_moment(text, timestamptz) from public;
comment on function kompanion._check_moment(text, timestamptz) is
    'Internal. KM007 for infinity and moments outside the years 1 to 9999.';

create function kompanion._expiry(
    expires_at timestamptz,
    ttl        interval,
    place      text default ''
)
    returns timestamptz
    language plpgsql
    stable
    set search_path from current
as $_expiry$
-- One moment from either form; a moment that is past already is refused, so nothing is born expired.
declare
    v_expiry timestamptz := coalesce(_expiry.expires_at, case when _expiry.ttl > interval '7000 years' then 'infinity'
                                                         when _expiry.ttl <= interval '0' then '-infinity'
                                                         else now() + _expiry.ttl end);
begin
    if _expiry.expires_at is not null and _expiry.ttl is not null then
        raise exception using
            errcode = 'KM007',
            message = place || 'expires_at and ttl are both given',
            hint    = 'Give one: expires_at is a moment, ttl a duration from now.';
    elsif v_expiry <= now() then
        raise exception using
            errcode = 'KM007',
            message = format('%s%s is in the past: %s', place, case when _expiry.ttl is null then 'expires_at' else 'ttl' end, coalesce(_expiry.expires_at::text, _expiry.ttl::text)),
            hint    = 'Give a moment after now; to end an item, call delete_item.';
    end if;
    perform kompanion._check_moment(place || case when _expiry.ttl is null then 'expires_at' else 'ttl' end, v_expiry);
    return v_expiry;
end;
$_expiry$;
revoke all on function kompanion._expiry(timestamptz, interval, text) from public;
comment on function kompanion._expiry(timestamptz, interval, text) is
    'Internal. The moment of expiry from expires_at or ttl; KM007 when it is past or both are given.';

create function kompanion._check_metadata(
    metadata jsonb,
    argument text default 'metadata'
)
    returns void
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_check_metadata$
-- Metadata is what filters ask about, not a blob store: a JSON object of at most 1 MiB and 100 levels, so that every reader of
-- JSON can read it. NULL passes, it stands for "not given".
begin
    if jsonb_typeof(metadata) <> 'object' then
        raise exception using
            errcode = 'KM007',
            message = format('%s: is a JSON %s, not an object', argument, jsonb_typeof(metadata)),
            hint    = 'Give an object, such as {"topic": "x"}.';
    -- Joined with {}: a value that comes from a table may be compressed, and its size is to be that of all of it.
    elsif pg_column_size(metadata) > 4000 and pg_column_size(metadata || '{}') > 1048576 then
        raise exception using
            errcode = 'KM008',
            message = format('%s: has %s bytes, at most 1048576 are allowed', argument, pg_column_size(metadata || '{}')),
            hint    = 'Put long text into content and keep in metadata what filters ask about.';
    -- A level takes eight bytes, compressed three: what is shorter than this has not so many, and is not searched for them.
    elsif pg_column_size(metadata) > 200
          and metadata @? 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")' then
        raise exception using
            errcode = 'KM007',
            message = format('%s: is nested deeper than 100 levels', argument),
            hint    = 'Keep a few levels, or a reference.';
    end if;
end;
$_check_metadata$;
revoke all on function kompanion._check_metadata(jsonb, text) from public;
comment on function kompanion._check_metadata(jsonb, text) is
    'Internal. KM007 unless metadata is an object of at most 100 levels, KM008 when it is over 1 MiB.';

create function kompanion._raise_no_item(
    namespace text,
    key       text
)
    returns void
    language plpgsql
    immutable
    set search_path from current
as $_raise_no_item$
-- The one wording for an item that is not there.
begin
    raise exception using
        errcode = 'KM003',
        message = format('there is no item %s in namespace %L', coalesce(quote_literal(left(key, 200)), 'NULL'), namespace),
        hint    = 'See list_items(scope); deleted and expired items are hidden, restore_item brings them back.';
end;
$_raise_no_item$;
revoke all on function kompanion._raise_no_item(text, text) from public;
comment on function kompanion._raise_no_item(text, text) is 'Internal. Raises KM003 for an item that does not exist.';

create function kompanion._check_content(
    content  text,
    argument text default 'content'
)
    returns void
    language plpgsql
    immutable parallel safe
    set search_path from current
as $_check_content$
-- Content is text of at most 16 MiB: beyond, it is a document store one wants, and a pointer to it here.
begin
    if content is null then
        raise exception using
            errcode = 'KM007',
            message = format('%s: is null', argument),
            hint    = 'Give the text to remember; to end an item, call delete_item.';
    elsif octet_length(content) > 16777216 then
        raise exception using
            errcode = 'KM008',
            message = format('%s: has %s bytes, at most 16777216 are allowed', argument, octet_length(content)),
            hint    = 'Split it into several items, or remember where it is kept.';
    end if;
end;
$_check_content$;
revoke all on function kompanion._check_content(text, text) from public;
comment on function kompanion._check_content(text, text) is 'Internal. KM007 for NULL, KM008 for content over 16 MiB.';

create function kompanion._check_vector(
    argument text,
    value    vector,
    dim      integer,
    metric   text,
    model_id integer default null
)
    returns void
    language plpgsql
    stable
    set search_path from current
as $_check_vector$
-- Refuses a vector that is no vector of the model. NaN and infinity never get here: the type vector refuses them. pgvector adds up
-- squares and products in single precision (3.4e38 at most, 1.2e-38 at least): beyond that distances are NaN, or 0 to everything.
-- model_id: it is to be stored, and an index in half precision must hold it (as in _fits_half).
declare
    v_length constant double precision := vector_norm(value);
begin
    if value is null or vector_dims(value) <> dim then
        raise exception using
            errcode = 'KM004',
            message = format('%s: %s, the model has dimension %s', argument, coalesce('has dimension ' || vector_dims(value), 'is null'), dim),
            hint    = 'Embed with the model that is named, or name the model it was made with.';
    elsif metric = 'cosine' and v_length = 0 then
        raise exception using
            errcode = 'KM004', message = format('%s: is the zero vector, which has no direction to compare under cosine', argument),
            hint    = 'Leave out what has no embedding, or register the model with metric l2 or inner_product.';
    elsif v_length not between (case when metric = 'cosine' then 1e-15 else 0 end) and 1e15 then
        raise exception using
            errcode = 'KM004',
            message = format('%s: is %s for distances in single precision', argument,
                             case when v_length > 1 then 'longer than 1e15, too long' else 'shorter than 1e-15, too short' end),
            hint    = 'Scale the vectors of the model before they are stored and asked, best to length 1.';
    elsif model_id is not null
          and (metric = 'cosine' and v_length < 1e-3 * sqrt(dim) or v_length > 65504 and exists (select from unnest(value::real[]) e where abs(e) >= 65520))
          and (select x.half from _vector_index(model_id) x) then
        raise exception using
            errcode = 'KM004',
            message = format('%s: %s for half precision, which the index of the model is in', argument,
                             case when v_length > 65504 then 'has an element beyond 65504, too large' else 'is too short' end),
            hint    = 'Scale the vectors of the model, best to length 1; or, up to 2000 dimensions, index it in single precision: ensure_index(model, half => false).';
    end if;
end;
$_check_vector$;
revoke all on function kompanion._check_vector(text, vector, integer, text, integer) from public;
comment on function kompanion._check_vector(text, vector, integer, text, integer) is
    'Internal. KM004 for a vector of another dimension, too short or too long to be compared, and where it is to be stored, that an index in half precision does not hold.';
